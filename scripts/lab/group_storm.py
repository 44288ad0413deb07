"""A storm over two groups that read one topic: one of eager members (librdkafka, kafka-python, two
Java consumers), one of cooperative ones.

    scripts/rebalance-storm [--minutes 5] [--members 50] [--kills 3] [--seed N]

Every few moments a member joins, leaves, dies by kill -9 or is paused, some for longer than its
session. The broker is killed (-9) and started again. A producer writes at a steady rate all the
time; so does another, at the same rate, to a second broker that nobody else uses: what the machine
adds to the latency of both is on both. At the end everything must have been read in each group.

The events come from the seed, which is printed; their interleaving does not."""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka

from lab import ROOT, SCRIPTS, clients
from lab.broker import Broker
from lab.group_verdict import Life, judge

TOPIC = "storm"
PARTITIONS = 24
SETTINGS = {"group.initial.rebalance.delay.ms": 500}
SESSION_S = 6
# The producer of a broker that was killed needs to find out; what it waited is told by itself.
AFTER_START_S = 5
DRAIN_S = 90
END_S = 30
KINDS = {"eager": ["range", "range", "python"], "cooperative": ["cooperative-sticky"]}
JAVA_LINE = "Partition:"
SAID_AFTER_KILLS = "writes are still landing"


class Producer(threading.Thread):
    """Writes so many records a second, each at its time, and keeps when it was acknowledged."""

    def __init__(self, broker: Broker, rate: float):
        super().__init__(daemon=True)
        self.rate = rate
        self.written = {index: set() for index in range(PARTITIONS)}
        self.latencies = []
        self.failure = None
        self.over = threading.Event()
        self.client = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "enable.idempotence": True, "acks": "all",
            "linger.ms": 0, "message.timeout.ms": 300_000, "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "log_level": 0})

    def run(self) -> None:
        begun, count = time.time(), 0
        while not self.over.is_set():
            due = begun + count / self.rate
            self.client.poll(max(0, min(0.01, due - time.time())))
            if time.time() >= due:
                self._send(due, count)
                count += 1
        if self.client.flush(60):
            self.failure = self.failure or "records were not acknowledged within a minute"

    def _send(self, due: float, count: int) -> None:
        def delivered(error, message) -> None:
            if error:
                self.failure = str(error)
                return
            self.written[message.partition()].add(message.offset())
            self.latencies.append((due, time.time() - due))

        self.client.produce(TOPIC, b"%d" % count, partition=count % PARTITIONS,
                            on_delivery=delivered)

    def end(self) -> None:
        self.over.set()
        self.join()


@dataclass
class Member:
    """A process that is in a group."""

    life: Life
    group: str
    process: subprocess.Popen
    resumes_at: float | None = None

    def is_running(self) -> bool:
        return self.process.poll() is None


class Storm:
    """Who is in the groups, and what happens to them."""

    def __init__(self, broker: Broker, home: Path, members: int, java: int, seed: int):
        self.broker = broker
        self.home = home
        self.target = members
        self.java = java
        self.chance = random.Random(seed)
        self.members = []
        self.lives = {group: [] for group in KINDS}
        self.counts = dict.fromkeys(["joined", "left", "killed", "paused", "paused long"], 0)

    def join(self) -> None:
        sizes = {group: sum(each.group == group for each in self.members) for group in KINDS}
        group = min(sizes, key=sizes.get)
        number = sum(map(len, self.lives.values()))
        notes = self.home / f"{group}-{number}.notes"
        kind = self.chance.choice(KINDS[group])
        javas = sum(each.life.name.startswith("java") for each in self.members)
        if group == "eager" and javas < self.java:
            life = Life(f"java-{number}", notes)
            process = java_member(self.broker.address, group, notes)
        else:
            life = Life(f"{kind}-{number}", notes)
            command = [sys.executable, "-B", "-m", "lab.group_member", kind, self.broker.address,
                       TOPIC, group, str(notes)]
            with open(self.home / f"{life.name}.log", "ab") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log,
                                           env=os.environ | {"PYTHONPATH": str(SCRIPTS)})
        self.lives[group].append(life)
        self.members.append(Member(life, group, process))
        self.counts["joined"] += 1

    def leave(self, member: Member) -> None:
        member.process.terminate()
        self.members.remove(member)
        threading.Thread(target=self._await_end, args=[member]).start()
        self.counts["left"] += 1

    def _await_end(self, member: Member) -> None:
        """An orderly end takes as long as the broker may be away; then it is none."""
        try:
            member.process.wait(END_S)
        except subprocess.TimeoutExpired:
            now = time.time()
            member.life.troubles.append((now - END_S, now))
            member.process.kill()
            member.process.wait()

    def kill(self, member: Member) -> None:
        now = time.time()
        member.process.kill()
        member.process.wait()
        member.life.troubles.append((now, time.time()))
        self.members.remove(member)
        self.counts["killed"] += 1

    def pause(self, member: Member, seconds: float) -> None:
        member.process.send_signal(signal.SIGSTOP)
        member.resumes_at = time.time() + seconds
        is_long = seconds > SESSION_S
        # Within its session it must not make a difference.
        if is_long:
            member.life.troubles.append((time.time(), member.resumes_at + SESSION_S))
        self.counts["paused long" if is_long else "paused"] += 1

    def resume_due(self, everybody=False) -> None:
        for member in self.members:
            is_due = member.resumes_at is not None and time.time() >= member.resumes_at
            if is_due or (everybody and member.resumes_at is not None):
                member.process.send_signal(signal.SIGCONT)
                member.resumes_at = None

    def step(self) -> None:
        """One thing happens."""
        self._note_deaths()
        free = [each for each in self.members if each.resumes_at is None]
        if len(self.members) < self.target * 2 // 3 or not free:
            return self.join()
        victim = self.chance.choice(free)
        is_java = victim.life.name.startswith("java")
        what = self.chance.random()
        if what < 0.25 and len(self.members) < self.target:
            self.join()
        elif what < 0.5 or is_java:
            # What a Java consumer prints is noted by us, later: its end must be orderly.
            self.leave(victim)
        elif what < 0.7:
            self.kill(victim)
        elif what < 0.9:
            self.pause(victim, 2)
        else:
            self.pause(victim, 2 * SESSION_S)

    def _note_deaths(self) -> None:
        for member in [each for each in self.members if not each.is_running()]:
            log = self.home / f"{member.life.name}.log"
            raise SystemExit(f"{member.life.name} has ended by itself: {log}")

    def end(self) -> None:
        self.resume_due(everybody=True)
        for member in list(self.members):
            self.leave(member)
        for thread in threading.enumerate():
            if thread.name.startswith("Thread") and thread is not threading.current_thread():
                thread.join(END_S + 5)

    def read(self, group: str) -> int:
        """Records that the group has noted so far, some of them twice."""
        count = 0
        for life in self.lives[group]:
            text = life.notes.read_text() if life.notes.exists() else ""
            rows = [line.split() for line in text.splitlines()]
            count += sum(int(row[3]) - int(row[2]) + 1 for row in rows if len(row) == 4)
        return count


def java_member(address: str, group: str, notes: Path) -> subprocess.Popen:
    """Kafka's console consumer; a thread notes what it prints."""
    command = [SCRIPTS / "peers" / "kafka", "tool", "console-consumer", "--bootstrap-server",
               address, "--topic", TOPIC, "--group", group,
               "--formatter-property", "print.partition=true",
               "--formatter-property", "print.offset=true",
               "--formatter-property", "print.value=false"]
    for key, value in (("auto.offset.reset", "earliest"), ("session.timeout.ms", SESSION_S * 1000),
                       ("heartbeat.interval.ms", 500), ("auto.commit.interval.ms", 500)):
        command += ["--command-property", f"{key}={value}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True,
                               env=os.environ | {"KAFKA_HEAP": "-Xmx128m -XX:TieredStopAtLevel=1"})

    def note() -> None:
        with open(notes, "a", buffering=1) as file:
            for line in process.stdout:
                # Partition:3 Offset:17
                numbers = dict(part.split(":") for part in line.split() if ":" in part)
                if line.startswith(JAVA_LINE):
                    offset = numbers["Offset"]
                    file.write(f"{time.time():.3f} {numbers['Partition']} {offset} {offset}\n")

    threading.Thread(target=note, name="java").start()
    return process


def quantile_ms(latencies: list[float], part: float) -> float:
    if len(latencies) < 2:
        return 0.0
    return 1000 * statistics.quantiles(latencies, n=1000)[int(part * 1000) - 1]


def split(producer: Producer, windows: list[tuple[float, float]]):
    """Latencies apart from, and within, the times around the broker's deaths."""
    calm, cut = [], []
    for due, latency in producer.latencies:
        is_cut = any(begin <= due + latency and due <= end for begin, end in windows)
        (cut if is_cut else calm).append(latency)
    return calm, cut


def drain(storm: Storm, producer: Producer) -> None:
    """Waits until both groups have read everything, or long enough."""
    count = sum(map(len, producer.written.values()))
    deadline = time.time() + DRAIN_S
    while time.time() < deadline:
        storm.resume_due(everybody=True)
        if all(storm.read(group) >= count for group in KINDS):
            # Some may have been read twice, so that others are still to come.
            time.sleep(2 * SESSION_S)
            return
        time.sleep(0.5)


def run(storm: Storm, broker: Broker, seconds: float, kills: int, pace_s: float):
    """Lets it happen; the spans around the broker's deaths."""
    begun, windows = time.time(), []
    kill_at = [begun + seconds * (each + 1) / (kills + 1) for each in range(kills)]
    while time.time() < begun + seconds:
        if kill_at and time.time() >= kill_at[0]:
            kill_at.pop(0)
            killed = time.time()
            broker.restart()
            windows.append((killed - 0.1, time.time() + AFTER_START_S))
        storm.resume_due()
        storm.step()
        time.sleep(storm.chance.uniform(0.5, 1.5) * pace_s)
    return windows


def report(storm: Storm, producer: Producer, control: Producer, windows) -> bool:
    is_good = True
    print(", ".join(f"{count} {what}" for what, count in storm.counts.items()))
    for group, lives in storm.lives.items():
        verdict = judge(lives, producer.written, windows)
        is_good &= verdict.is_good
        print(f"{group:12} {'ok ' if verdict.is_good else 'BAD'} {verdict.text()}")
    calm, cut = split(producer, windows)
    beside, _ = split(control, windows)
    p99, control_p99 = quantile_ms(calm, 0.99), quantile_ms(beside, 0.99)
    print(f"producer p50 {quantile_ms(calm, 0.5):.2f} ms, p99 {p99:.2f} ms; beside it, on a broker "
          f"without groups, p50 {quantile_ms(beside, 0.5):.2f} ms, p99 {control_p99:.2f} ms: "
          f"{p99 / control_p99 if control_p99 else 0:.2f} times")
    if cut:
        print(f"around {len(windows)} kills of the broker, told apart: {len(cut)} records, "
              f"p50 {quantile_ms(cut, 0.5):.0f} ms, longest {1000 * max(cut):.0f} ms")
    for failed in filter(None, (producer.failure, control.failure)):
        print(f"a producer failed: {failed}")
        is_good = False
    return is_good


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/rebalance-storm", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--java", type=int, default=2, help="of them, Java's console consumer")
    parser.add_argument("--kills", type=int, default=3, help="of the broker")
    parser.add_argument("--rate", type=float, default=500, help="records per second")
    parser.add_argument("--pace", type=float, default=1, help="seconds between events")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "rebalance-storm")
    return parser.parse_args(given)


def blow(arguments: argparse.Namespace) -> bool:
    """The whole of it; whether nothing was missed and nothing came twice without a reason."""
    shutil.rmtree(arguments.home, ignore_errors=True)
    print(f"seed {arguments.seed}", flush=True)
    brokers = [Broker(arguments.binary, arguments.home / name, settings=SETTINGS, shards=2)
               for name in ("stormed", "other")]
    storm = Storm(brokers[0], arguments.home, arguments.members, arguments.java, arguments.seed)
    try:
        for broker in brokers:
            broker.start()
            clients.create_topic(broker.address, TOPIC, partitions=PARTITIONS)
        producers = [Producer(broker, arguments.rate) for broker in brokers]
        for _ in range(arguments.members * 2 // 3):
            storm.join()
        for producer in producers:
            producer.start()
        windows = run(storm, brokers[0], 60 * arguments.minutes, arguments.kills, arguments.pace)
        for producer in producers:
            producer.end()
        drain(storm, producers[0])
        storm.end()
        is_good = report(storm, *producers, windows)
        complaints = [line for broker in brokers for line in broker.complaints()
                      if SAID_AFTER_KILLS not in line]
        for line in complaints[:5]:
            print(line)
        return is_good and not complaints
    finally:
        for member in storm.members:
            member.process.kill()
        for broker in brokers:
            broker.stop()
            shutil.rmtree(broker.data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(0 if blow(parse_arguments()) else 1)
