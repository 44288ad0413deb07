"""Compacted topics keep the newest record of each key, as Kafka's do.

The same batches, in all codecs, go to Spate and to a real Kafka whose cleaner looks often; when
both have compacted, the same client reads the same records from both. Segments roll by the
records' own time, so both close them at the same places, whenever the tests run."""

import os
import random
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass

import confluent_kafka
import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from lab import clients
from lab.broker import Elsewhere, free_ports
from lab.clients import KAFKA
from lab.wire import Connection

START_MS = int(time.time() * 1000) - 3_000_000
SEGMENT_MS = 60_000
PATIENCE_S = 40
CODECS = range(5)
CLEANER = {"log.cleaner.backoff.ms": 100, "journal.bytes": 16 << 20}
COMPACTED = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": "0.01",
             "segment_ms": SEGMENT_MS}


@dataclass
class Written:
    """A record at the offset that the broker will give it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: list


class History:
    """Random batches of keyed records; the same seed writes the same."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.clock_ms = START_MS
        self.batches = []
        self.records = []
        self.active_base = 0
        self.sequences = {}

    def write(self, pairs: list, *, codec=0, producer=None) -> None:
        sequence = self.sequences.get(producer, 0)
        known = (-1, -1, -1) if producer is None else (producer, 0, sequence)
        builder = DefaultRecordBatchBuilder(2, codec, False, *known, 1 << 20)
        for delta, (key, value, headers) in enumerate(pairs):
            self.clock_ms += self.dice.randrange(20)
            builder.append(delta, self.clock_ms, key, value, headers)
            self.records.append(Written(len(self.records), self.clock_ms, key, value, headers))
        self.sequences[producer] = sequence + len(pairs)
        self.batches.append(bytes(builder.build()))

    def some(self, batches: int, keys: int) -> None:
        for _ in range(batches):
            pairs = [self.pair(keys) for _ in range(self.dice.randrange(1, 8))]
            self.write(pairs, codec=self.dice.choice(CODECS),
                       producer=self.dice.choice([None, None, 7001, 7002]))

    def pair(self, keys: int):
        key = b"key-%d" % self.dice.randrange(keys)
        gone = self.dice.random() < 0.2
        value = None if gone else self.dice.randbytes(self.dice.randrange(0, 300))
        headers = [(f"h{n}", self.dice.randbytes(n)) for n in range(self.dice.randrange(3))]
        return key, value, headers

    def roll(self) -> None:
        """What comes next begins another segment."""
        self.clock_ms += SEGMENT_MS + 1_000
        self.active_base = len(self.records)

    def segments(self, count: int, keys: int) -> "History":
        for _ in range(count):
            self.some(self.dice.randrange(2, 12), keys)
            self.roll()
        self.some(1, keys)
        return self

    def compacted(self, *, tombstones=True) -> list[Written]:
        """What a compacted log holds: of closed segments the newest of each key, and the rest."""
        closed = self.records[:self.active_base]
        newest = {record.key: record.offset for record in closed}
        kept = [r for r in closed if newest[r.key] == r.offset]
        kept = [r for r in kept if tombstones or r.value is not None]
        return kept + self.records[self.active_base:]


def send(broker, topic: str, batches: list[bytes]) -> None:
    with Connection(broker.endpoint) as connection:
        for batch in batches:
            assert connection.produced(topic, batch).error == 0


def read(broker, topic: str) -> list[Written]:
    """All records, by librdkafka."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "unused", "enable.auto.commit": False,
        "enable.partition.eof": True, "check.crcs": True})
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        found = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                return found
            found.append(Written(message.offset(), message.timestamp()[1], message.key(),
                                 message.value(), message.headers() or []))
        raise AssertionError("the end of the partition was not reached")
    finally:
        consumer.close()


def await_records(broker, topic: str, expected: list[Written]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = read(broker, topic)
        if found == expected or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert [r.offset for r in found] == [r.offset for r in expected]
    assert found == expected


@contextmanager
def real_kafka():
    """A Kafka whose cleaner looks often; its controller takes the next port."""
    port = free_ports(2)
    environment = os.environ | {"KAFKA_HEAP": "-Xms256m -Xmx512m"}
    subprocess.run([KAFKA, "start", str(port), "log.cleaner.backoff.ms=100"], check=True,
                   env=environment, stdout=subprocess.DEVNULL, timeout=120)
    try:
        yield Elsewhere(f"127.0.0.1:{port}")
    finally:
        subprocess.run([KAFKA, "stop", str(port)], check=True, timeout=60)


@pytest.mark.everywhere
def test_newest_record_of_each_key_stays_as_it_was(spate, ground, topic):
    broker = spate(settings=CLEANER).start()
    clients.create_topic(broker.address, topic, **COMPACTED)
    history = History(1).segments(6, keys=20)
    send(broker, topic, history.batches)
    await_records(broker, topic, history.compacted())
    # And over restarts, under other shards.
    broker.restart(shards=3)
    await_records(broker, topic, history.compacted())
    with Connection(broker.endpoint) as connection:
        last = history.records[-1]
        # The end stays, and a time finds the first record that is still there.
        assert connection.offset_at(topic, -1) == (0, -1, last.offset + 1)
        for asked in history.records[::7]:
            later = [r for r in history.compacted() if r.timestamp >= asked.timestamp]
            expected = (0, later[0].timestamp, later[0].offset)
            assert connection.offset_at(topic, asked.timestamp) == expected


def test_tombstones_go_when_their_time_is_over(spate, ground, topic):
    broker = spate(settings=CLEANER).start()
    clients.create_topic(broker.address, topic, delete_retention_ms=0, **COMPACTED)
    let_tombstones_go(broker, topic, History(2))


def let_tombstones_go(broker, topic: str, history: History) -> None:
    history.segments(3, keys=10)
    sent = 0
    for _ in range(3):
        # Tombstones wait in their first round, and go with one that comes after it.
        send(broker, topic, history.batches[sent:])
        sent = len(history.batches)
        await_fewer_than(broker, topic, len(history.records))
        history.roll()
        history.write([(b"key-0", b"filler", [])])
    send(broker, topic, history.batches[sent:])
    await_records(broker, topic, history.compacted(tombstones=False))


def await_fewer_than(broker, topic: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(read(broker, topic)) >= count and time.monotonic() < deadline:
        time.sleep(0.1)


def test_records_without_keys_are_refused(spate, ground, topic):
    broker = spate(settings=CLEANER).start()
    clients.create_topic(broker.address, topic, **COMPACTED)
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, int(time.time() * 1000), None, b"v", [])
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, bytes(builder.build()))[0] == 87  # INVALID_RECORD


def test_compaction_is_counted(spate, ground, topic):
    broker = spate(settings=CLEANER, shards=1).start()
    clients.create_topic(broker.address, topic, **COMPACTED)
    history = History(3).segments(3, keys=5)
    send(broker, topic, history.batches)
    await_records(broker, topic, history.compacted())
    time.sleep(1.1)  # Gauges are published each second.
    said = broker.statistics()
    assert "compactions" in said and "compaction_removed_records" in said


def test_same_history_leaves_the_same_records_in_kafka(spate, ground, topic):
    broker = spate(settings=CLEANER).start()
    with real_kafka() as kafka:
        for seed in (11, 12, 13):
            compare(broker, kafka, f"{topic}-{seed}", History(seed).segments(8, keys=25))
        compare_without_tombstones(broker, kafka, f"{topic}-gone")


def compare(broker, kafka, topic: str, history: History) -> None:
    for one in (kafka, broker):
        clients.create_topic(one.address, topic, **COMPACTED)
        send(one, topic, history.batches)
    for one in (kafka, broker):
        await_records(one, topic, history.compacted())
    assert read(broker, topic) == read(kafka, topic)
    with Connection(broker.endpoint) as ours, Connection(kafka.endpoint) as theirs:
        for asked in history.records[::5]:
            at = asked.timestamp
            assert ours.offset_at(topic, at) == theirs.offset_at(topic, at)


def compare_without_tombstones(broker, kafka, topic: str) -> None:
    for one in (kafka, broker):
        clients.create_topic(one.address, topic, delete_retention_ms=0, **COMPACTED)
        history = History(14)
        let_tombstones_go(one, topic, history)
    assert read(broker, topic) == read(kafka, topic)
