"""Measures a broker that does nothing with a thousand empty topics, and compares with the limits.

    scripts/idle [--topics 1000] [--reactor auto|io_uring|epoll]

Prints one row for each number: what it is, its limit, and whether it holds. Exits 1 if one does
not. Start times are the median of five starts after a clean stop."""

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import confluent_kafka.admin

from lab import ROOT
from lab.broker import Broker

STARTS = 5
SETTLE_S = 3
WATCH_S = 20
MIB = 1 << 20


def create_topics(broker: Broker, count: int) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    new = [confluent_kafka.admin.NewTopic(f"empty-{number}", 1, 1) for number in range(count)]
    for created in admin.create_topics(new, request_timeout=60).values():
        created.result()


def disk_bytes(folder: Path, without: Path) -> int:
    """What is allocated on disk below a folder; sparse files count what they hold."""
    total = 0
    for where, _folders, files in os.walk(folder):
        if not Path(where).is_relative_to(without):
            total += sum(os.lstat(Path(where) / name).st_blocks * 512 for name in files)
    return total


def start_times(broker: Broker) -> list[float]:
    times = []
    for _ in range(STARTS):
        broker.stop()
        times.append(broker.start().start_s)
    return times


def measure(broker: Broker, topics: int) -> list[tuple[str, float, float, str]]:
    broker.start()
    create_topics(broker, topics)
    start_ms = statistics.median(start_times(broker)) * 1_000
    time.sleep(SETTLE_S)
    cpu_before, clock_before = broker.cpu_s(), time.monotonic()
    time.sleep(WATCH_S)
    cpu = (broker.cpu_s() - cpu_before) / (time.monotonic() - clock_before) * 100
    return [
        ("start", start_ms, 100, "ms"),
        ("resident memory", broker.resident_bytes() / MIB, 64, "MiB"),
        (f"CPU over {WATCH_S} s", cpu, 0.2, "%"),
        ("disk beyond the journals", disk_bytes(broker.data, broker.data / "journal") / MIB, 64,
         "MiB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=1_000)
    parser.add_argument("--reactor", default="auto")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "idle")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.home, ignore_errors=True)
    broker = Broker(arguments.binary, arguments.home, reactor=arguments.reactor)
    try:
        rows = measure(broker, arguments.topics)
    finally:
        broker.stop()
    for name, value, limit, unit in rows:
        verdict = "ok" if value < limit else "TOO MUCH"
        print(f"{name:26} {value:10.2f} {unit:4} limit {limit:g} {unit}: {verdict}")
    sys.exit(any(value >= limit for _, value, limit, _ in rows))


if __name__ == "__main__":
    main()
