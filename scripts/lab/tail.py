"""What a consumer at the tail notices of work in the background: its p99, end to end.

    scripts/bench-tail [--only backfill,compaction,scrub] [--rounds 3] [--window 10]
                       [--backlog-gib 2] [--rate 2000]

A tail is a steady stream of records of 1 KiB, produced with acks=all and fetched at once, over
eight partitions; its latency counts from the time a record was meant to be sent to the consumer
that has verified it. It is measured alone; then

    backfill     beside a consumer that reads the backlog from its beginning at 200 MB/s,
    compaction   while a topic is compacted, as fast as it goes by default,
    scrub        while sealed blocks are scrubbed, at the default rate or --scrub-mb,

and after each of those again in a control: beside a program that burns as much CPU as the work in
the background took, in the broker and in its client. The broker is started anew for each, so that
its memory is alike. Rounds are interleaved, the table has medians, and the verdict is the ratio of
the p99s, load to control: at most 1.5. Exits 1 if one is above."""

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from lab import ROOT, SCRIPTS
from lab.broker import Broker, cpu_s
from lab.image import Image

PARTITIONS = 8
TAIL, BACKLOG = "tail", "backlog"
BACKFILL_BYTES_PER_S = 200e6
RATIO_MAX = 1.5
WARM_UP_S = 2
# A scrub begins a second after the start.
LOAD_BEGINS_S, LOAD_ALONE_S = 1.1, 1.5
# Counters of a round of compaction come at its end.
LOAD_GOES_ON_S = 2
PATIENCE_S = 120
GIB = 1 << 30
# Small segments: only closed ones are compacted, and the counters tell after each partition.
DIRTY_SEGMENT_BYTES = 16 << 20
DIRTY_VALUE = random.Random(1).randbytes(1000)
# Nothing runs in the background unless a load wants it.
QUIET = {"scrub.bytes.per.second": 0, "log.cleaner.enable": "false"}
BURN = """
import sys, time
share, period_s = float(sys.argv[1]), 0.01
while True:
    began = time.perf_counter()
    used = time.process_time()
    while time.process_time() - used < share * period_s:
        pass
    time.sleep(max(0.0, began + period_s - time.perf_counter()))
"""


@dataclass
class Tail:
    """One measurement of the tail."""

    p50_ms: float
    p99_ms: float
    broker_cores: float
    # CPU of the load without a tail, in the broker and in its own client.
    load_cores: tuple[float, ...] = ()
    # What the load did.
    note: str = ""


class Bench:
    """The brokers' data, and what is measured on it."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.binary = arguments.binary
        self.bench = arguments.binary.parent / "spate-bench"
        self.broker = Broker(arguments.binary, arguments.home, shards=arguments.shards)

    @contextlib.contextmanager
    def running(self, **settings):
        """The broker, started anew with what it is to do in the background."""
        self.broker.settings = {"metrics.listen": ""} | QUIET | settings
        self.broker.start()
        try:
            yield self.broker
        finally:
            self.broker.stop()

    def drive(self, *options: str) -> dict:
        command = [self.bench, "run", "--broker", self.broker.address, "--json", "--broker-pid",
                   str(self.broker.pid), *options]
        done = subprocess.run(command, capture_output=True, check=False, text=True,
                              timeout=self.arguments.window + PATIENCE_S)
        if done.returncode != 0:
            raise SystemExit(f"spate-bench: {done.stderr}")
        outcome = json.loads(done.stdout)
        for warning in outcome["warnings"]:
            print(f"  spate-bench: {warning}", file=sys.stderr)
        return outcome

    def tail(self) -> Tail:
        window_s = self.arguments.window
        outcome = self.drive(
            "--partitions", str(PARTITIONS), "--producers", "8", "--consumers", "2",
            "--rate", str(self.arguments.rate), "--warm-up", f"{WARM_UP_S}s",
            "--duration", f"{window_s}s")
        latency = outcome["consumed"]["end_to_end"]
        return Tail(latency["p50_ns"] / 1e6, latency["p99_ns"] / 1e6,
                    outcome["broker_usage"]["cpu_s"] / window_s)

    # What has to be on the disk before the first round.

    def fill_backlog(self) -> None:
        batch_records = 128
        records = int(self.arguments.backlog_gib * GIB) // 1024
        # What is late is still sent: it ends when all of it is there.
        rate = 200_000
        seconds = max(1, records // rate)
        outcome = self.drive(
            "--topic", BACKLOG, "--keep-topic", "--partitions", str(PARTITIONS), "--producers",
            "8", "--in-flight", "4", "--batch-records", str(batch_records), "--rate", str(rate),
            "--warm-up", "0s", "--duration", f"{seconds}s", "--drain", f"{PATIENCE_S}s")
        sent = outcome["produced"]["intended"] - outcome["produced"]["unanswered"]
        print(f"backlog: {sent * 1024 / GIB:.1f} GiB", file=sys.stderr)

    def fill_dirty(self, number: int) -> None:
        """A topic of keyed records, each key twice on average, that is not compacted yet."""
        topic = dirty(number)
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.broker.address})
        config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01",
                  "segment.bytes": str(DIRTY_SEGMENT_BYTES)}
        new = confluent_kafka.admin.NewTopic(topic, PARTITIONS, 1, config=config)
        admin.create_topics([new])[topic].result()
        client = confluent_kafka.Producer({
            "bootstrap.servers": self.broker.address, "acks": "all", "linger.ms": 20,
            "batch.size": 900_000, "queue.buffering.max.kbytes": 256 << 10, "log_level": 2})
        count = int(self.arguments.dirty_gib * GIB) // 1024
        keys = random.Random(number)
        for _ in range(count):
            key = b"%016d" % keys.randrange(count // 2)
            while True:
                try:
                    client.produce(topic, DIRTY_VALUE, key)
                    break
                except BufferError:
                    client.poll(0.05)
        client.flush(PATIENCE_S)
        print(f"{topic}: {self.arguments.dirty_gib:g} GiB", file=sys.stderr)

    # The loads: each yields while it goes on; what it says is told after.

    @contextlib.contextmanager
    def backfill(self, tell: dict):
        command = [sys.executable, "-B", "-m", "lab.backfill", self.broker.address, BACKLOG,
                   str(PARTITIONS), str(self.arguments.backfill_mb * 1e6)]
        reader = subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True)
        try:
            began, used = time.monotonic(), cpu_s(reader.pid)
            yield
            is_done = reader.poll() is not None
            if not is_done:
                spent = cpu_s(reader.pid) - used
                tell["cores"] += (spent / (time.monotonic() - began),)
        finally:
            reader.terminate()
            said = reader.communicate()[0].split()
        if is_done:
            tell["note"] = "THE BACKLOG WAS READ BEFORE THE END: give it more --backlog-gib; "
        read, seconds = int(said[0]), float(said[1])
        tell["note"] = tell.get("note", "") + f"{read / seconds / 1e6:.0f} MB/s read"

    @contextlib.contextmanager
    def housekeeping(self, counter: str, tell: dict):
        began, before = time.monotonic(), self.counted(counter)
        yield
        seconds, done = time.monotonic() - began, self.counted(counter)
        tell["note"] = f"{(done - before) / seconds / 1e6:.0f} MB/s read"
        time.sleep(LOAD_GOES_ON_S)
        if self.counted(counter) == done:
            tell["note"] += ", BUT NOT TO THE END: give it more --dirty-gib or --backlog-gib"

    def counted(self, name: str) -> int:
        """A counter of the broker, over all shards."""
        said = self.broker.statistics()
        for words in map(str.split, said.splitlines()):
            if words and words[0] == name:
                return int(words[1])
        raise SystemExit(f"spate stats does not tell {name}: {said}")

    @contextlib.contextmanager
    def burning(self, *cores: float):
        """A plain program for each share of a core."""
        shares = [part for share in cores for part in split(share)]
        burners = [subprocess.Popen([sys.executable, "-c", BURN, str(share)]) for share in shares]
        try:
            yield
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()

    # One round.

    def alone(self) -> Tail:
        with self.running():
            return self.tail()

    def beside(self, load: str, number: int) -> Tail:
        tell: dict = {}
        if load == "backfill":
            with self.running(), self.backfill(tell):
                found = self.tail_beside(tell)
        elif load == "compaction":
            keep = {"log.cleaner.enable": "true", "log.cleaner.backoff.ms": 100}
            if limit_mb := self.arguments.compaction_mb:
                keep["log.cleaner.io.max.bytes.per.second"] = int(limit_mb * (1 << 20))
            with self.running():
                self.fill_dirty(number)
            with self.running(**keep), self.housekeeping("compaction_read_bytes", tell):
                found = self.tail_beside(tell)
        else:
            keep = {"scrub.bytes.per.second": int(self.arguments.scrub_mb * (1 << 20)),
                    "scrub.interval.ms": 1000}
            with self.running(**keep), self.housekeeping("scrubbed_bytes", tell):
                found = self.tail_beside(tell)
        found.load_cores = tell["cores"]
        found.note = tell["note"]
        return found

    def tail_beside(self, tell: dict) -> Tail:
        """What the load takes without a tail, then the tail beside it."""
        time.sleep(LOAD_BEGINS_S)
        began, used = time.monotonic(), self.broker.cpu_s()
        time.sleep(LOAD_ALONE_S)
        tell["cores"] = ((self.broker.cpu_s() - used) / (time.monotonic() - began),)
        return self.tail()

    def control(self, load: Tail) -> Tail:
        with self.running(), self.burning(*load.load_cores):
            found = self.tail()
        found.note = " + ".join(f"{share:.2f}" for share in load.load_cores) + " cores burnt"
        return found


def dirty(number: int) -> str:
    return f"dirty-{number}"


def split(cores: float) -> list[float]:
    """Shares of at most 0.9 of a core each; less than a hundredth is left out."""
    if cores < 0.01:
        return []
    parts = int(cores / 0.9) + 1
    return [cores / parts] * parts


def say(round_number: int, what: str, found: Tail) -> None:
    print(f"round {round_number}: {what:22} p50 {found.p50_ms:7.3f} ms  p99 {found.p99_ms:8.3f} ms"
          f"  broker {found.broker_cores:.2f} cores  {found.note}", flush=True)


def rounds(bench: Bench, loads: list[str], count: int) -> dict[str, list[Tail]]:
    found: dict[str, list[Tail]] = {}

    def note(number: int, what: str, tail: Tail) -> Tail:
        say(number, what, tail)
        found.setdefault(what, []).append(tail)
        return tail

    for number in range(count):
        turn = number % len(loads)
        note(number, "alone", bench.alone())
        for load in loads[turn:] + loads[:turn]:
            beside = note(number, load, bench.beside(load, number))
            note(number, f"control of {load}", bench.control(beside))
    return found


def table(found: dict[str, list[Tail]], loads: list[str]) -> bool:
    """Prints it; whether every ratio holds."""
    def median(what: str, field: str) -> float:
        return statistics.median(getattr(tail, field) for tail in found[what])

    holds = True
    print(f"\n{'tail':22} {'p50':>11} {'p99':>11} {'control p99':>12} {'ratio':>6}  verdict")
    print(f"{'alone':22} {median('alone', 'p50_ms'):8.3f} ms {median('alone', 'p99_ms'):8.3f} ms")
    for load in loads:
        p99_ms = median(load, "p99_ms")
        control_ms = median(f"control of {load}", "p99_ms")
        ratio = p99_ms / control_ms
        verdict = "ok" if ratio <= RATIO_MAX else f"ABOVE {RATIO_MAX}"
        holds &= ratio <= RATIO_MAX
        print(f"{'beside ' + load:22} {median(load, 'p50_ms'):8.3f} ms {p99_ms:8.3f} ms "
              f"{control_ms:9.3f} ms {ratio:6.2f}  {verdict}")
    return holds


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    loads = ["backfill", "compaction", "scrub"]
    parser.add_argument("--only", default=",".join(loads), help="loads, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, default=10, help="seconds of each measurement")
    parser.add_argument("--rate", type=int, default=2000, help="records/s of the tail")
    parser.add_argument("--backlog-gib", type=float, default=4)
    parser.add_argument("--backfill-mb", type=float, default=BACKFILL_BYTES_PER_S / 1e6,
                        help="MB/s of the reader")
    parser.add_argument("--dirty-gib", type=float, default=2, help="to be compacted, each round")
    parser.add_argument("--compaction-mb", type=float,
                        help="MiB/s of the compaction, each shard; without: as by default")
    parser.add_argument("--scrub-mb", type=float, default=8, help="MiB/s of the scrub")
    parser.add_argument("--in-memory", type=int, metavar="GIB",
                        help="data on an ext4 of that size in memory: a disk that never stalls")
    parser.add_argument("--shards", type=int, default=None)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "bench-tail")
    arguments = parser.parse_args()
    arguments.only = [load for load in arguments.only.split(",") if load]
    if unknown := set(arguments.only) - set(loads):
        parser.error(f"no such load: {', '.join(sorted(unknown))}")
    return arguments


@contextlib.contextmanager
def ground(arguments: argparse.Namespace):
    """The folder for the data."""
    if not arguments.in_memory:
        shutil.rmtree(arguments.home, ignore_errors=True)
        yield arguments.home
        shutil.rmtree(arguments.home, ignore_errors=True)
        return
    with tempfile.TemporaryDirectory(prefix="bench-tail-", dir="/dev/shm") as folder:
        with Image(Path(folder), arguments.in_memory * GIB) as image:
            yield image.place


def main() -> None:
    arguments = read_arguments()
    with ground(arguments) as arguments.home:
        bench = Bench(arguments)
        try:
            if {"backfill", "scrub"} & set(arguments.only):
                with bench.running():
                    bench.fill_backlog()
            found = rounds(bench, arguments.only, arguments.rounds)
        finally:
            bench.broker.stop()
    sys.exit(not table(found, arguments.only))


if __name__ == "__main__":
    main()
