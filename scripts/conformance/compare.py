"""Asks two brokers everything and prints where they differ; see the script `run` beside this file.

For each API that both serve, in each version that both serve: the right request, the cases of its
subject, every variant of the right request with one wrong field, and requests that are cut short,
too long, or carry a tagged field that nobody knows."""

import argparse
import sys
import time
import zlib
from collections import defaultdict
from pathlib import Path

from conformance import brokers, differences, schema
from conformance.cases import SUBJECTS
from conformance.differences import Difference
from conformance.mutate import variants
from conformance.normalise import ABSENT, normalise, unlike
from conformance.peer import Peer
from conformance.subject import Subject
from conformance.world import World
from lab import ROOT

SHOWN = 5
FRAMES = ("cut short", "too long", "unknown tag")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/conformance/run")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="one that runs already")
    parser.add_argument("--spate", metavar="HOST:PORT", help="one that runs already")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--ends", action="store_true",
                        help="only the oldest and the newest version of each API")
    parser.add_argument("--api", action="append", help="only this one; may be repeated")
    parser.add_argument("--case", help="only cases that contain this")
    return parser.parse_args()


def versions_of(request: schema.Schema, ranges: list[dict], ends: bool) -> list[int]:
    first = max([request.versions.first, *(served[request.key][0] for served in ranges)])
    last = min([request.versions.last, *(served[request.key][1] for served in ranges)])
    return sorted({first, last}) if ends else list(range(first, last + 1))


def cases_of(subject: Subject, request: schema.Schema, version: int, world: World) -> list[str]:
    """Names of all that is asked in this version; both brokers must come to the same."""
    world.begin(f"{subject.api}-{version}")
    right = subject.right(world, version)
    names = ["right"]
    names += [name for name in subject.cases if version >= subject.since.get(name, 0)]
    if right is not None:
        names += [f"frame {name}" for name in FRAMES
                  if name != "unknown tag" or version in request.flexible]
        names += [f"wrong {name}" for name in variants(request, version, right, subject.spared)
                  if name not in subject.omitted]
    return names


def ask(subject: Subject, request: schema.Schema, version: int, case: str, world: World) -> list:
    """Runs one case on one broker; its answers, ready to be compared."""
    kind, _, detail = case.partition(" ")
    world.begin(f"{subject.api}-{version}-{slug(case)}")
    body = subject.cases.get(case, subject.right)(world, version)
    if kind == "frame":
        world.answers.append((subject.api, version, bend(world, request, version, body, detail)))
    elif kind == "wrong":
        world.call(subject.api, version, variants(request, version, body, subject.spared)[detail])
    elif body is not None:
        world.call(subject.api, version, body)
    answers = []
    for api, at, answer in world.answers:
        if isinstance(answer, dict):
            subject.only(world, answer)
        answers.append((f"{api} v{at}", normalise(world, answer)))
    return answers


def slug(case: str) -> str:
    """A case's name as a part of topic names."""
    return f"{zlib.crc32(case.encode()):08x}"


def bend(world: World, request: schema.Schema, version: int, body: dict, how: str):
    api = request.name.removesuffix("Request")
    if how == "unknown tag":
        return world.peer.ask(api, version, body, extra_tag=b"what is this")
    data = request.encode(body, version)
    return world.peer.send(api, version, data[:-1] if how == "cut short" else data + b"more")


def compare(subject: Subject, version: int, case: str, kafka: list, spate: list):
    """Where the answers differ, over all of one case."""
    for place in range(max(len(kafka), len(spate))):
        one, other = (answers[place] if place < len(answers) else ("", ABSENT)
                      for answers in (kafka, spate))
        prefix = f"#{place} {one[0]} " if len(kafka) > 1 else ""
        for path, left, right in unlike(one[1], other[1]):
            yield Difference(subject.api, version, case, prefix + path, left, right)


def subjects(served: list[dict], only: list[str] | None):
    """Every API that both brokers serve, with at least its empty request."""
    for key, (request, _) in schema.load().items():
        api = request.name.removesuffix("Request")
        if all(key in one for one in served) and (not only or api in only):
            yield request, SUBJECTS.get(api) or Subject(api, lambda world, version: {})


def run(arguments: argparse.Namespace, worlds: list[World]) -> tuple[int, list[Difference]]:
    served = [world.peer.served() for world in worlds]
    cases, found = 0, []
    for request, subject in subjects(served, arguments.api):
        started = time.monotonic()
        before = cases, len(found)
        for version in versions_of(request, served, arguments.ends):
            names = [cases_of(subject, request, version, world) for world in worlds]
            if names[0] != names[1]:
                found.append(Difference(subject.api, version, "preparation", "", *names))
            for case in (name for name in names[0] if name in names[1]):
                if arguments.case and arguments.case not in case:
                    continue
                cases += 1
                kafka, spate = (ask(subject, request, version, case, world) for world in worlds)
                found += compare(subject, version, case, kafka, spate)
        print(f"{subject.api:28} {cases - before[0]:5} cases {len(found) - before[1]:5} "
              f"differences in {time.monotonic() - started:5.1f} s", flush=True)
    return cases, found


def report(left: list[Difference]) -> None:
    """One line per kind of difference, with the versions and cases that show it."""
    groups = defaultdict(list)
    for one in left:
        path = one.path.replace(f" v{one.version} ", " ")
        groups[one.api, path, repr(one.kafka), repr(one.spate)].append(one)
    for (api, path, kafka, spate), alike in groups.items():
        versions = sorted({one.version for one in alike})
        cases = list(dict.fromkeys(one.case for one in alike))
        more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
        print(f"{api} v{versions[0]}-{versions[-1]} {path}: kafka {kafka[:90]}, spate {spate[:90]}"
              f" [{'; '.join(cases[:SHOWN])}{more}]")


def main() -> int:
    arguments = parse_arguments()
    with (brokers.kafka(arguments.kafka) as kafka,
          brokers.spate(arguments.spate, arguments.binary) as spate):
        worlds = [World(Peer("kafka", kafka)), World(Peer("spate", spate))]
        for world in worlds:
            world.build()
        cases, found = run(arguments, worlds)
    meant = differences.load()
    left = differences.unjustified(found, meant)
    report(left)
    whole = not (arguments.api or arguments.case or arguments.ends)
    stale = [entry for entry in meant if not entry.used] if whole else []
    for entry in stale:
        print(f"differences.toml: nothing differs any more: {entry}")
    print(f"{len(found) - len(left)} differences are meant, {len(left)} are not")
    differing = len({(one.api, one.version, one.case) for one in left})
    print(f"{cases - differing} passed, {differing + len(stale)} failed in {cases} cases")
    return 1 if left or stale else 0


if __name__ == "__main__":
    sys.exit(main())
