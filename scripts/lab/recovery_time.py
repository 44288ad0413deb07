"""How long a broker takes to serve again after kill -9, by how much is in its log.

    scripts/recovery-time [--gib 1,5,20] [--kafka]

For each size: fills a topic up to it with 100 KiB records, keeps producing, kills the broker in the
middle, starts it again, and takes the time until it is ready and until the first record of the
topic's last partition could be fetched. With --kafka a real Kafka goes through the same. Needs as
much disk as the largest size, and a little more."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from lab import ROOT
from lab.broker import Broker, Elsewhere, free_ports

TOPIC = "filled"
PARTITIONS = 8
RECORD = os.urandom(50 << 10) + bytes(50 << 10)
GIB = 1 << 30
PATIENCE_S = 120


class Kafka(Elsewhere):
    """A real Kafka of this checkout that is killed and goes on with its data."""

    script = ROOT / "scripts" / "peers" / "kafka"

    def __init__(self):
        # Its controller takes the next one.
        self.port = free_ports(2)
        super().__init__(f"127.0.0.1:{self.port}")
        self.pid = None

    def _run(self, verb: str) -> str:
        done = subprocess.run([self.script, verb, str(self.port)], check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()

    def start(self) -> None:
        self.pid = int(self._run("start" if self.pid is None else "resume"))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while Path(f"/proc/{self.pid}").exists():
            time.sleep(0.01)

    def stop(self) -> None:
        if self.pid is not None:
            self._run("stop")


def create_topic(broker: Elsewhere) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    topic = confluent_kafka.admin.NewTopic(TOPIC, PARTITIONS, 1)
    for created in admin.create_topics([topic]).values():
        created.result()


def producer(broker: Elsewhere) -> confluent_kafka.Producer:
    return confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "acks": "all", "batch.size": 900_000, "linger.ms": 5,
        "queue.buffering.max.kbytes": 64 << 10, "message.timeout.ms": 600_000, "log_level": 2})


def fill(client: confluent_kafka.Producer, from_bytes: int, to_bytes: int) -> None:
    for number in range(from_bytes // len(RECORD), to_bytes // len(RECORD)):
        while True:
            try:
                client.produce(TOPIC, RECORD, partition=number % PARTITIONS)
                break
            except BufferError:
                client.poll(0.05)
        client.poll(0)


def first_record_after(broker: Elsewhere, begun: float) -> float:
    """Seconds from `begun` until the last partition's last record was fetched."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "recovery", "log_level": 0,
        "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 20, "enable.auto.commit": False})
    partition = confluent_kafka.TopicPartition(TOPIC, PARTITIONS - 1)
    try:
        _low, end = consumer.get_watermark_offsets(partition, timeout=PATIENCE_S)
        partition.offset = end - 1
        consumer.assign([partition])
        while time.monotonic() < begun + PATIENCE_S:
            message = consumer.poll(0.1)
            if message is not None and not message.error():
                return time.monotonic() - begun
        raise TimeoutError(f"no record within {PATIENCE_S} s of the start")
    finally:
        consumer.close()


def measure(broker, sizes: list[int]) -> list[tuple[int, float, float]]:
    """Rows of GiB, seconds until ready, seconds until the first record."""
    broker.start()
    create_topic(broker)
    rows, filled = [], 0
    for gib in sizes:
        client = producer(broker)
        fill(client, filled, gib * GIB)
        filled = gib * GIB
        client.flush(PATIENCE_S)
        # Under load: journals and open segments are in the middle of something.
        fill(client, filled, filled + 200 * len(RECORD))
        broker.kill()
        client.purge()
        begun = time.monotonic()
        broker.start()
        ready_s = time.monotonic() - begun
        rows.append((gib, ready_s, first_record_after(broker, begun)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", default="1,5,20", help="sizes, rising")
    parser.add_argument("--kafka", action="store_true", help="measure a real Kafka too")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "recovery-time")
    arguments = parser.parse_args()
    sizes = sorted(int(gib) for gib in arguments.gib.split(","))
    shutil.rmtree(arguments.home, ignore_errors=True)
    brokers = [("spate", Broker(arguments.binary, arguments.home))]
    if arguments.kafka:
        brokers.append(("kafka", Kafka()))
    print(f"{'broker':8} {'GiB':>4} {'ready after':>12} {'first record after':>20}")
    for name, broker in brokers:
        try:
            for gib, ready_s, record_s in measure(broker, sizes):
                print(f"{name:8} {gib:4} {ready_s:10.3f} s {record_s:18.3f} s", flush=True)
        finally:
            broker.stop()
            shutil.rmtree(arguments.home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
