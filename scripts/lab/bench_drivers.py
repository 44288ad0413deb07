"""The same fixed rate by three load drivers, and the most that ours can do; see the script
`bench-drivers`."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from lab import PEERS, ROOT
from lab.broker import Broker, cpu_s
from lab.peer import SCRIPT, Kafka

RECORD_BYTES, PARTITIONS = 1024, 4
LINGER_MS, BATCH_BYTES = 5, 65_536
GB = 1e9
# A JVM needs time to get fast, and everybody to connect.
WARM_UP_S, COOL_DOWN_S = 4, 2
PATIENCE_S = 60
# More than any of them sends: they are stopped in time.
MOST_PER_S = 2_000_000
AGREES_WITHIN = 0.05


@dataclass
class Measured:
    """One driver's seconds."""

    rate: float
    cpu_s_per_gb: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-drivers", description=__doc__)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--brokers", default="spate,kafka")
    parser.add_argument("--rates", default="5000,20000,max", help="records/s of 1 KiB, or max")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "bench-drivers")
    return parser.parse_args()


class Drivers:
    """The programs, and how each is told the same thing."""

    def __init__(self, arguments: argparse.Namespace):
        self.bench = arguments.binaries / "spate-bench"
        self.seconds = WARM_UP_S + arguments.seconds + COOL_DOWN_S

    def commands(self, broker: str, topic: str, rate: int | None) -> dict[str, list]:
        """By name. Each would go on for longer than it is measured."""
        count = str(int((rate or MOST_PER_S) * self.seconds))
        settings = {"acks": "all", "linger.ms": LINGER_MS, "batch.size": BATCH_BYTES,
                    "enable.idempotence": "true"}
        java = [f"{key}={value}" for key, value in settings.items()]
        rdkafka = [word for key, value in settings.items() for word in ("-X", f"{key}={value}")]
        paced = [] if rate is None else ["-r", str(rate)]
        # As fast as answers come there is no time to linger in: batches are simply full.
        ours = ["--rate", "max", "--batch-records", str(BATCH_BYTES // RECORD_BYTES)]
        if rate is not None:
            ours = ["--rate", str(rate), "--linger", f"{LINGER_MS}ms",
                    "--batch-bytes", str(BATCH_BYTES)]
        return {
            "ProducerPerformance": [
                SCRIPT, "tool", "producer-perf-test", "--topic", topic, "--num-records", count,
                "--record-size", str(RECORD_BYTES), "--throughput", str(rate or -1),
                "--producer-props", f"bootstrap.servers={broker}", *java],
            "rdkafka_performance": [
                PEERS / "librdkafka" / "src" / "examples" / "rdkafka_performance", "-P", "-q",
                "-t", topic, "-s", str(RECORD_BYTES), "-c", count, "-b", broker,
                *paced, *rdkafka],
            "spate-bench": [
                self.bench, "run", "--broker", broker, "--topic", topic, "--existing",
                "--producers", "1", "--record-bytes", str(RECORD_BYTES), *ours, "--idempotent",
                "--warm-up", "0s", "--duration", f"{self.seconds * 1000:.0f}ms"],
        }


def measure(command: list, ends, seconds: float, log: Path) -> Measured:
    """Runs a driver, and looks at it and at the broker's logs twice."""
    with open(log, "wb") as said:
        driver = subprocess.Popen(list(map(str, command)), stdout=said, stderr=said)
    try:
        time.sleep(WARM_UP_S)
        began, records, cpu = time.monotonic(), ends(), cpu_s(driver.pid)
        time.sleep(seconds)
        if driver.poll() is not None:
            raise SystemExit(f"{command[0]} ended early: {log}")
        passed, written = time.monotonic() - began, ends() - records
        used = cpu_s(driver.pid) - cpu
    finally:
        driver.kill()
        driver.wait(PATIENCE_S)
    return Measured(written / passed, used / (max(written, 1) * RECORD_BYTES) * GB)


def make_topic(address: str, topic: str):
    """Creates it, and gives what says how many records it has."""
    settings = {"bootstrap.servers": address}
    admin = confluent_kafka.admin.AdminClient(settings)
    admin.create_topics([confluent_kafka.admin.NewTopic(topic, PARTITIONS, 1)])[topic].result()
    consumer = confluent_kafka.Consumer(settings | {"group.id": topic, "log_level": 0})
    partitions = [confluent_kafka.TopicPartition(topic, index) for index in range(PARTITIONS)]

    def ends() -> int:
        marks = [consumer.get_watermark_offsets(each, timeout=PATIENCE_S) for each in partitions]
        return sum(high for _, high in marks)

    ends()
    return ends


def compare(name: str, address: str, arguments: argparse.Namespace) -> bool:
    """All drivers at all rates into one broker; whether ours kept its rates."""
    drivers, kept = Drivers(arguments), True
    for wanted in arguments.rates.split(","):
        rate = None if wanted == "max" else int(wanted)
        found: dict[str, list[Measured]] = {}
        for number in range(arguments.rounds):
            topic = f"drivers-{wanted}-{number}"
            ends = make_topic(address, topic)
            for driver, command in drivers.commands(address, topic, rate).items():
                log = arguments.home / f"{name}-{wanted}-{driver}.log"
                one = measure(command, ends, arguments.seconds, log)
                found.setdefault(driver, []).append(one)
        ours = statistics.median(one.cpu_s_per_gb for one in found["spate-bench"])
        for driver, all_rounds in found.items():
            achieved = statistics.median(one.rate for one in all_rounds)
            cost = statistics.median(one.cpu_s_per_gb for one in all_rounds)
            agrees = rate is None or abs(achieved / rate - 1) <= AGREES_WITHIN
            kept &= agrees or driver != "spate-bench"
            print(f"{name:6} {wanted:>8}/s  {driver:20} {achieved:>10,.0f}/s"
                  f"{'' if agrees else ' !':2} {cost:>8.2f} s/GB {cost / ours:>7.1f} x", flush=True)
    return kept


CAPACITY = {
    "128 x 1 KiB a batch, 8 in flight": ["--batch-records", "128", "--producers", "1"],
    "1 x 1 KiB, 8 in flight, 1 connection": ["--producers", "1"],
    "1 x 1 KiB, 8 in flight, 8 connections": ["--producers", "8"],
    "1 x 100 B, 8 in flight, 8 connections": ["--producers", "8", "--record-bytes", "100"],
}


def show_capacity(arguments: argparse.Namespace) -> None:
    """One driver thread against an acceptor on the same machine."""
    bench = arguments.binaries / "spate-bench"
    floor = subprocess.Popen([bench, "floor", "--discard"], stdout=subprocess.PIPE, text=True)
    try:
        address = floor.stdout.readline().split()[1]
        for what, flags in CAPACITY.items():
            done = subprocess.run(
                [bench, "run", "--broker", address, "--broker-pid", str(floor.pid), "--json",
                 "--in-flight", "8", "--rate", "max", "--threads", "1", "--warm-up", "1s",
                 "--duration", f"{arguments.seconds * 1000:.0f}ms", *flags],
                capture_output=True, text=True, check=True, timeout=PATIENCE_S)
            outcome = json.loads(done.stdout)
            outcome = outcome.get("outcome", outcome)
            produced, seconds = outcome["produced"], outcome["seconds"]
            busy = outcome["driver_usage"]["cpu_s"] / seconds
            acceptor = outcome["broker_usage"]["cpu_s"] / seconds
            records, size = produced["records"] / seconds, produced["bytes"] / seconds / GB
            print(f"{what:40} {records:>10,.0f} records/s {size:>6.2f} GB/s; driver {busy:.0%} "
                  f"busy: {records / busy:>10,.0f} records/s, {size / busy:.2f} GB/s a core; "
                  f"acceptor {acceptor:.0%}", flush=True)
    finally:
        floor.kill()
        floor.wait()


def main() -> int:
    arguments = parse_arguments()
    shutil.rmtree(arguments.home, ignore_errors=True)
    arguments.home.mkdir(parents=True)
    kept = True
    for name in filter(None, arguments.brokers.split(",")):
        home = arguments.home / name
        broker = Kafka() if name == "kafka" else Broker(
            arguments.binaries / "spate", home, shards=arguments.shards)
        try:
            broker.start()
            kept &= compare(name, broker.address, arguments)
        finally:
            broker.stop()
            shutil.rmtree(home, ignore_errors=True)
    print("\nspate-bench, one thread, into an acceptor that discards:")
    show_capacity(arguments)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
