"""The same load by librdkafka through a broker's plain listener and through its shard-aware ones,
round by round; see the script `bench-shards`.

A latency is librdkafka's own: from the record's entry into its queue to the answer."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from lab import ROOT
from lab.broker import Broker, free_ports

TOPIC, RECORD_BYTES = "shards", 1024
WARM_UP_S, PATIENCE_S = 1, 30
# Shards publish their numbers every second.
PUBLISHED_S = 1.2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-shards", description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rate", type=int, default=3000, help="records of 1 KiB a second, paced")
    parser.add_argument("--producers", type=int, default=8)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "bench-shards")
    return parser.parse_args()


class Load:
    """Producers that keep a rate: each record goes by itself, and is acknowledged durable."""

    def __init__(self, address: str, arguments: argparse.Namespace):
        settings = {"bootstrap.servers": address, "acks": "all", "linger.ms": 0,
                    "log_level": 2}
        self.rate, self.partitions = arguments.rate, arguments.partitions
        self.producers = [confluent_kafka.Producer(settings) for _ in range(arguments.producers)]
        self.latencies, self.failures, self.sent = [], [], 0

    def delivered(self, error, message) -> None:
        if error is not None:
            self.failures.append(error)
        self.latencies.append(message.latency() * 1e3)

    def run(self, seconds: float) -> list[float]:
        """Latencies in milliseconds; when it returns, all have been answered."""
        self.latencies.clear()
        value, began, due = bytes(RECORD_BYTES), time.monotonic(), 0
        while due < int(seconds * self.rate):
            passed = time.monotonic() - began
            for _ in range(due, min(int(passed * self.rate) + 1, int(seconds * self.rate))):
                producer = self.producers[self.sent % len(self.producers)]
                producer.produce(TOPIC, value, partition=self.sent % self.partitions,
                                 on_delivery=self.delivered)
                self.sent, due = self.sent + 1, due + 1
            for producer in self.producers:
                producer.poll(0)
            time.sleep(0.0005)
        left = sum(producer.flush(PATIENCE_S) for producer in self.producers)
        if left or self.failures:
            raise SystemExit(f"{left} records without an answer, failed: {self.failures[:3]}")
        return sorted(self.latencies)


def counted(broker: Broker) -> dict[str, int]:
    """What the shards have counted since the start."""
    time.sleep(PUBLISHED_S)
    done = subprocess.run([broker.binary, "stats", "--data", broker.data, "--json"],
                          capture_output=True, timeout=PATIENCE_S, check=True)
    shards = json.loads(done.stdout)["statistics"]["shards"]
    return {key: sum(shard[key] for shard in shards) for key in ("hops", "requests")}


def measure(broker: Broker, load: Load, seconds: float) -> dict[str, float]:
    load.run(WARM_UP_S)
    before = counted(broker)
    cpu_s = -broker.cpu_s()
    latencies = load.run(seconds)
    cpu_s += broker.cpu_s()
    after = counted(broker)
    requests = after["requests"] - before["requests"]
    return {
        "hops a request": (after["hops"] - before["hops"]) / requests,
        "CPU us a record": cpu_s / len(latencies) * 1e6,
        "p50 ms": statistics.median(latencies),
        "p99 ms": latencies[int(len(latencies) * 0.99)],
    }


def show(found: dict[str, list[dict[str, float]]]) -> None:
    for metric in found["plain"][0]:
        cells, medians = [], []
        for name, rounds in found.items():
            values = sorted(outcome[metric] for outcome in rounds)
            medians.append(statistics.median(values))
            cells.append(f"{name} {medians[-1]:8.3f} ({values[0]:.3f} to {values[-1]:.3f})")
        ratio = f"{medians[1] / medians[0]:.2f} x" if medians[0] else "-"
        print(f"{metric:16} {'   '.join(cells)}   {ratio}")


def main() -> int:
    arguments = parse_arguments()
    shutil.rmtree(arguments.home, ignore_errors=True)
    own = f"127.0.0.1:{free_ports(arguments.shards)}"
    broker = Broker(arguments.binary, arguments.home, shards=arguments.shards,
                    settings={"shard.listeners": own})
    found = {"plain": [], "shard-aware": []}
    try:
        broker.start()
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
        topic = confluent_kafka.admin.NewTopic(TOPIC, arguments.partitions, 1)
        admin.create_topics([topic])[TOPIC].result(PATIENCE_S)
        loads = {"plain": Load(broker.address, arguments), "shard-aware": Load(own, arguments)}
        for number in range(arguments.rounds):
            # Whoever comes second finds the disk as the first has left it: they take turns.
            order = list(loads) if number % 2 == 0 else list(reversed(loads))
            for name in order:
                found[name].append(measure(broker, loads[name], arguments.seconds))
    finally:
        broker.stop()
        shutil.rmtree(arguments.home, ignore_errors=True)
    print(f"medians of {arguments.rounds} interleaved rounds (least to most): {arguments.rate}/s, "
          f"{arguments.producers} producers, {arguments.partitions} partitions")
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
