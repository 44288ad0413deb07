"""Judges what the members of a group have noted: was every record read by one of them, and does
every second reading have a reason?

A record may come again if the member that read it first could not commit: it was killed, paused or
given up by the group, or the broker was killed, between the two readings. Once a commit behind the
record was acknowledged there is one reason left: whoever reads it again was away for so long that
the group gave it up, and goes through what it had fetched before."""

from dataclasses import dataclass, field
from pathlib import Path

# Between what happened and what a clock in another process says about it.
SLACK_S = 1.0


@dataclass
class Life:
    """What befell one member: kills, pauses and losses, as spans of time."""

    name: str
    notes: Path
    troubles: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Verdict:
    """Of one group."""

    read: int
    missed: list[tuple[int, int]]
    twice: int
    unexplained: list[str]

    @property
    def is_good(self) -> bool:
        return not self.missed and not self.unexplained

    def text(self) -> str:
        said = f"{self.read} read, {len(self.missed)} missed, {self.twice} twice"
        said += f", {len(self.unexplained)} of them without a reason"
        examples = [f"missed {place}" for place in self.missed[:3]] + self.unexplained[:3]
        return "; ".join([said, *examples])


@dataclass
class Reading:
    """One poll's records of one partition."""

    when: float
    life: Life
    partition: int
    first: int
    last: int


@dataclass
class Commit:
    """An acknowledged one: the next offset to read."""

    when: float
    partition: int
    position: int


def judge(lives: list[Life], written: dict[int, set[int]], kills: list[tuple[float, float]]):
    """Compares the notes with the offsets that the producer was told, by partition."""
    readings, commits = _notes(lives)
    committed = {}
    first, twice, unexplained = {}, 0, []
    for reading in sorted(readings, key=lambda each: each.when):
        while commits and commits[0].when < reading.when - SLACK_S:
            commit = commits.pop(0)
            known = committed.get(commit.partition, 0)
            committed[commit.partition] = max(known, commit.position)
        for offset in range(reading.first, reading.last + 1):
            place = (reading.partition, offset)
            earlier = first.get(place)
            first[place] = reading
            if earlier is None:
                continue
            twice += 1
            is_committed = offset < committed.get(reading.partition, 0)
            was_open = not is_committed and _has_reason(earlier, reading, kills)
            if not was_open and not _was_away(reading):
                unexplained.append(_story(place, earlier, reading, is_committed))
    missed = [(partition, offset) for partition, offsets in written.items()
              for offset in sorted(offsets) if (partition, offset) not in first]
    return Verdict(len(first), missed, twice, unexplained)


def _notes(lives: list[Life]) -> tuple[list[Reading], list[Commit]]:
    readings, commits = [], []
    for life in lives:
        latest = 0.0
        text = life.notes.read_text() if life.notes.exists() else ""
        for line in text.splitlines():
            when, *rest = line.split()
            when = float(when)
            if rest == ["lost"]:
                # It was given up at some time since it last read.
                life.troubles.append((latest, when))
            elif rest[0] == "committed":
                commits.append(Commit(when, int(rest[1]), int(rest[2])))
            else:
                readings.append(Reading(when, life, *map(int, rest)))
                latest = when
    return readings, sorted(commits, key=lambda each: each.when)


def _has_reason(earlier: Reading, later: Reading, kills: list[tuple[float, float]]) -> bool:
    return any(begin <= later.when + SLACK_S and end >= earlier.when - SLACK_S
               for begin, end in earlier.life.troubles + kills)


def _was_away(reading: Reading) -> bool:
    return any(begin <= reading.when <= end for begin, end in reading.life.troubles)


def _story(place, earlier: Reading, later: Reading, is_committed: bool) -> str:
    times = [f"{each.life.name} at {each.when:.1f}" for each in (earlier, later)]
    return f"{place}: {', '.join(times)}" + (" though committed" if is_committed else "")
