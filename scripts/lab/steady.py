"""Counts the system calls of the shard threads while clients produce steadily.

    scripts/strace-steady [--seconds 5] [--shards 1] [--reactor auto|io_uring|epoll]

On io_uring nothing but `io_uring_enter` may show, at most once for each turn of the loop; the
turns are the broker's own count, from `spate stats`, if it answers. Exits 1 if other calls are
more than one in a hundred."""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import ROOT, clients
from lab.broker import Broker

WARM_UP_S = 3
OTHERS_MAX = 0.01
TOPIC = "steady"


def shard_threads(broker: Broker) -> list[str]:
    tasks = Path(f"/proc/{broker.pid}/task").iterdir()
    threads = [task.name for task in tasks if "shard" in (task / "comm").read_text()]
    if not threads:
        sys.exit("no thread of the broker has 'shard' in its name")
    return threads


def load(broker: Broker) -> subprocess.Popen:
    """Two partitions' worth of 1 KiB records, acknowledged when durable."""
    command = [str(clients.RDKAFKA_PERFORMANCE), "-P", "-q", "-b", broker.address, "-t", TOPIC,
               "-s", "1024", "-a", "-1", "-X", "linger.ms=0", "-X", "batch.num.messages=10"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def strace(threads: list[str], seconds: float) -> dict[str, int]:
    """Calls by name, over the given time."""
    attach = [part for thread in threads for part in ("-p", thread)]
    tracer = subprocess.Popen(["strace", "-c", "-U", "name,calls", *attach],
                              stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    tracer.send_signal(signal.SIGINT)
    said = tracer.communicate(timeout=30)[1]
    rows = re.findall(r"^(\w+)\s+(\d+)$", said, re.MULTILINE)
    return {name: int(calls) for name, calls in rows if name != "total"}


def measure(broker: Broker, seconds: float) -> dict[str, int]:
    broker.start()
    clients.create_topic(broker.address, TOPIC, partitions=2)
    producers = [load(broker) for _ in range(2)]
    try:
        time.sleep(WARM_UP_S)
        return strace(shard_threads(broker), seconds)
    finally:
        for producer in producers:
            producer.kill()
            producer.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--reactor", default="auto")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "steady")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.home, ignore_errors=True)
    broker = Broker(arguments.binary, arguments.home, reactor=arguments.reactor,
                    shards=arguments.shards)
    try:
        calls = measure(broker, arguments.seconds)
        statistics = broker.statistics()
    finally:
        broker.stop()
    total = sum(calls.values())
    for name, count in sorted(calls.items(), key=lambda row: -row[1]):
        print(f"{name:20} {count:10} {count / total:8.2%}")
    print(statistics)
    others = total - calls.get("io_uring_enter", 0)
    sys.exit(arguments.reactor != "epoll" and others > OTHERS_MAX * total)


if __name__ == "__main__":
    main()
