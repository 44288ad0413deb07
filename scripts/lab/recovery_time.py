"""How long a broker takes to serve again after kill -9, by how much is in its log.

    scripts/recovery-time [--gib 1,5,20] [--kafka]
    scripts/recovery-time --partitions 10000 [--records 24000] [--set KEY=VALUE] [--kafka]

For each size: fills a topic up to it with 100 KiB records, keeps producing, kills the broker in the
middle, starts it again, and takes the time until it is ready and until the first record of the
topic's last partition could be fetched. With --kafka a real Kafka goes through the same. Needs as
much disk as the largest size, and a little more.

With --partitions the log is spread over so many partitions instead: each gets its share of the
records (of 1 KiB), most of which no segment holds when the broker is killed. The memory is what the
started broker uses, and the most that its start did."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin

from lab import ROOT
from lab.broker import Broker, Elsewhere
from lab.peer import Kafka

TOPIC = "filled"
PARTITIONS = 8
SMALL_RECORD = os.urandom(1 << 10)
RECORD = os.urandom(50 << 10) + bytes(50 << 10)
GIB = 1 << 30
PATIENCE_S = 120


def create_topic(broker: Elsewhere, partitions: int = PARTITIONS) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    topic = confluent_kafka.admin.NewTopic(TOPIC, partitions, 1)
    for created in admin.create_topics([topic], operation_timeout=PATIENCE_S,
                                       request_timeout=PATIENCE_S).values():
        created.result()


def producer(broker: Elsewhere) -> confluent_kafka.Producer:
    return confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "acks": "all", "batch.size": 900_000, "linger.ms": 5,
        "queue.buffering.max.kbytes": 64 << 10, "message.timeout.ms": 600_000, "log_level": 2})


def fill(client: confluent_kafka.Producer, from_bytes: int, to_bytes: int) -> None:
    for number in range(from_bytes // len(RECORD), to_bytes // len(RECORD)):
        put(client, RECORD, number % PARTITIONS)


def put(client: confluent_kafka.Producer, record: bytes, partition: int) -> None:
    while True:
        try:
            client.produce(TOPIC, record, partition=partition)
            break
        except BufferError:
            client.poll(0.05)
    client.poll(0)


def first_record_after(broker: Elsewhere, begun: float, partitions: int = PARTITIONS) -> float:
    """Seconds from `begun` until the last partition's last record was fetched."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "recovery", "log_level": 0,
        "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 20, "enable.auto.commit": False})
    partition = confluent_kafka.TopicPartition(TOPIC, partitions - 1)
    try:
        partition.offset = end_of(consumer, partition, begun) - 1
        consumer.assign([partition])
        while time.monotonic() < begun + PATIENCE_S:
            message = consumer.poll(0.1)
            if message is not None and not message.error():
                return time.monotonic() - begun
        raise TimeoutError(f"no record within {PATIENCE_S} s of the start")
    finally:
        consumer.close()


def end_of(consumer, partition, begun: float) -> int:
    """A broker that is up may not lead yet: Kafka answers so for a while."""
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=PATIENCE_S)[1]
        except confluent_kafka.KafkaException:
            if time.monotonic() > begun + PATIENCE_S:
                raise
            time.sleep(0.01)


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


def measure_spread(broker, partitions: int, records: int) -> tuple[float, float, str]:
    """Seconds until ready and until a record, and the memory, of a log over many partitions."""
    broker.start()
    create_topic(broker, partitions)
    client = producer(broker)
    for number in range(records):
        put(client, SMALL_RECORD, number % partitions)
    if client.flush(PATIENCE_S):
        raise TimeoutError(f"the records were not all acknowledged within {PATIENCE_S} s")
    # Under load, as above.
    for number in range(1000):
        put(client, SMALL_RECORD, number % partitions)
    broker.kill()
    client.purge()
    begun = time.monotonic()
    broker.start(PATIENCE_S) if isinstance(broker, Broker) else broker.start()
    ready_s = time.monotonic() - begun
    status = Path(f"/proc/{broker.pid}/status").read_text().splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) >> 10
              for line in status if line.startswith(("VmRSS", "VmHWM"))}
    record_s = first_record_after(broker, begun, partitions)
    return ready_s, record_s, f"{memory['VmRSS']} MiB, at most {memory['VmHWM']} MiB"


def show_spread(name: str, broker, arguments) -> None:
    partitions, records = arguments.partitions, arguments.records
    ready_s, record_s, memory = measure_spread(broker, partitions, records)
    print(f"{name:8} {partitions} partitions, {records} records: ready after {ready_s:.3f} s, "
          f"first record after {record_s:.3f} s, {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", default="1,5,20", help="sizes, rising")
    parser.add_argument("--kafka", action="store_true", help="measure a real Kafka too")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "recovery-time")
    parser.add_argument("--partitions", type=int, help="spread the log over so many")
    parser.add_argument("--records", type=int, default=24_000, help="of 1 KiB, with --partitions")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of Spate")
    arguments = parser.parse_args()
    sizes = sorted(int(gib) for gib in arguments.gib.split(","))
    shutil.rmtree(arguments.home, ignore_errors=True)
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    brokers = [("spate", Broker(arguments.binary, arguments.home, settings=settings))]
    if arguments.kafka:
        brokers.append(("kafka", Kafka()))
    if not arguments.partitions:
        print(f"{'broker':8} {'GiB':>4} {'ready after':>12} {'first record after':>20}")
    for name, broker in brokers:
        try:
            if arguments.partitions:
                show_spread(name, broker, arguments)
                continue
            for gib, ready_s, record_s in measure(broker, sizes):
                print(f"{name:8} {gib:4} {ready_s:10.3f} s {record_s:18.3f} s", flush=True)
        finally:
            broker.stop()
            shutil.rmtree(arguments.home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
