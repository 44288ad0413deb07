"""What Produce promises beyond storing bytes: idempotence, timestamps, limits, the topic's codec,
and refusals with Kafka's numbers. Every test without settings of its own holds for a real Kafka
too (`--broker`): that is where the expectations come from."""

import struct
import time

import confluent_kafka
import confluent_kafka.admin
import pytest

from lab import clients, wire
from lab.wire import Batch, Connection

CODEC = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LOG_APPEND_TIME = 0x08
DAY_MS = 86_400_000


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def sent_by():
    """Batches of one idempotent producer, whose id no other test has."""
    producer_id = time.time_ns() % (1 << 40)

    def batch(sequence: int, count=1, epoch=0) -> bytes:
        return Batch(values=(b"v",) * count, producer_id=producer_id, producer_epoch=epoch,
                     sequence=sequence, timestamp=now_ms()).encode()

    return batch


@pytest.fixture
def connection(broker):
    with Connection(broker.endpoint) as made:
        yield made


def stored(connection, topic: str, offset=0) -> list[dict]:
    """Headers of the batches that a reader gets."""
    (error, _, records), = connection.fetch(topic, offset)
    assert error == wire.NONE
    found = []
    while records:
        length, = struct.unpack(">i", records[8:12])
        attributes, last, first_time, max_time = struct.unpack(">hiqq", records[21:43])
        found.append({"codec": attributes & 7, "attributes": attributes, "max_time": max_time,
                      "first_time": first_time, "count": last + 1, "bytes": length + 12})
        records = records[length + 12:]
    return found


def alter(broker, topic: str, key: str, value: str) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    entry = confluent_kafka.admin.ConfigEntry(
        key, value, incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET)
    resource = confluent_kafka.admin.ConfigResource(
        confluent_kafka.admin.ResourceType.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(20)


def test_a_duplicate_among_the_last_five_gets_its_first_offset(
        broker, ground, connection, topic, sent_by):
    clients.create_topic(broker.address, topic)
    for sequence in range(7):
        assert connection.produce(topic, sent_by(sequence)) == (wire.NONE, sequence)
    for sequence in (6, 4, 2):
        assert connection.produce(topic, sent_by(sequence)) == (wire.NONE, sequence)
    for refused in (sent_by(1), sent_by(0), sent_by(5, count=2), sent_by(9)):
        assert connection.produce(topic, refused)[0] == wire.OUT_OF_ORDER_SEQUENCE
    assert connection.produce(topic, sent_by(7)) == (wire.NONE, 7)


def test_epochs_rise_and_begin_at_zero(broker, ground, connection, topic, sent_by):
    clients.create_topic(broker.address, topic)
    assert connection.produce(topic, sent_by(0)) == (wire.NONE, 0)
    assert connection.produce(topic, sent_by(3, epoch=1))[0] == wire.OUT_OF_ORDER_SEQUENCE
    assert connection.produce(topic, sent_by(0, epoch=1)) == (wire.NONE, 1)
    assert connection.produce(topic, sent_by(1, epoch=0))[0] == wire.INVALID_PRODUCER_EPOCH


def test_sequences_wrap(broker, ground, connection, topic, sent_by):
    clients.create_topic(broker.address, topic)
    last = (1 << 31) - 1
    assert connection.produce(topic, sent_by(last - 1, count=3)) == (wire.NONE, 0)
    assert connection.produce(topic, sent_by(last - 1, count=3)) == (wire.NONE, 0)
    assert connection.produce(topic, sent_by(1)) == (wire.NONE, 3)


def test_producers_are_remembered_over_kills(spate, ground, topic, sent_by):
    broker = spate(shards=2).start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        for sequence in range(6):
            assert connection.produce(topic, sent_by(sequence)) == (wire.NONE, sequence)
    for shards in (1, 2):
        broker.restart(shards=shards)
        with Connection(broker.endpoint) as connection:
            assert connection.produce(topic, sent_by(3)) == (wire.NONE, 3)
            assert connection.produce(topic, sent_by(9))[0] == wire.OUT_OF_ORDER_SEQUENCE
            assert connection.produce(topic, sent_by(0))[0] == wire.OUT_OF_ORDER_SEQUENCE
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, sent_by(6)) == (wire.NONE, 6)


@pytest.mark.parametrize("is_killed", [False, True], ids=["running", "restarted"])
def test_a_silent_producer_is_forgotten(spate, ground, topic, sent_by, is_killed):
    settings = {"producer.id.expiration.ms": 300, "producer.id.expiration.check.interval.ms": 100}
    broker = spate(settings={} if is_killed else settings).start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, sent_by(0)) == (wire.NONE, 0)
        if not is_killed:
            connection.produce(topic, sent_by(5))
    if is_killed:
        broker.restart(settings=settings)
    deadline = time.monotonic() + 20
    with Connection(broker.endpoint) as connection:
        while connection.produce(topic, sent_by(5))[0] == wire.OUT_OF_ORDER_SEQUENCE:
            assert time.monotonic() < deadline, "it is remembered for ever"
            time.sleep(0.1)


def test_append_time_replaces_the_producers(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic, message_timestamp_type="LogAppendTime")
    before = now_ms()
    said = connection.produced(topic, Batch(values=(b"a", b"b"), timestamp=5).encode())
    assert said.error == wire.NONE and before <= said.append_time <= now_ms()
    batch, = stored(connection, topic)
    assert batch["attributes"] & LOG_APPEND_TIME and batch["max_time"] == said.append_time
    assert connection.offset_at(topic, before) == (wire.NONE, said.append_time, 0)


def test_only_the_broker_may_say_append_time(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic)
    claims = Batch(attributes=LOG_APPEND_TIME, timestamp=now_ms())
    said = connection.produced(topic, claims.encode())
    assert (said.error, said.append_time) == (wire.NONE, -1)
    batch, = stored(connection, topic)
    assert not batch["attributes"] & LOG_APPEND_TIME
    other = topic + "-append"
    clients.create_topic(broker.address, other, message_timestamp_type="LogAppendTime")
    assert connection.produced(other, claims.encode()).error == wire.INVALID_TIMESTAMP


def test_a_lying_max_timestamp_is_corrected(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic)
    time_ms = now_ms()
    lie = Batch(timestamp=time_ms, max_timestamp=time_ms + 7 * DAY_MS)
    assert connection.produce(topic, lie.encode()) == (wire.NONE, 0)
    batch, = stored(connection, topic)
    assert batch["max_time"] == time_ms


def test_timestamps_have_limits(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic, message_timestamp_before_max_ms=DAY_MS,
                         message_timestamp_after_max_ms=DAY_MS)
    for offset, fine in enumerate((now_ms(), now_ms() - DAY_MS // 2, now_ms() + DAY_MS // 2, -1)):
        assert connection.produce(topic, Batch(timestamp=fine).encode()) == (wire.NONE, offset)
    for time_ms in (now_ms() - 2 * DAY_MS, now_ms() + 2 * DAY_MS):
        said = connection.produced(topic, Batch((b"a", b"b"), timestamp=time_ms).encode())
        assert said.error == wire.INVALID_TIMESTAMP
        assert said.message == "One or more records have been rejected due to invalid timestamp"
        assert [index for index, _ in said.record_errors] == [0, 1]
        assert said.record_errors[1][1].startswith(
            f"Timestamp {time_ms} of message with offset 1 is out of range. The timestamp should ")


def test_a_compacted_topic_names_the_records_without_key(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic, cleanup_policy="compact")
    said = connection.produced(topic, Batch(values=(b"a",) * 4, timestamp=now_ms()).encode())
    why = f"Compacted topic cannot accept message without key in topic partition {topic}-0"
    assert said.error == wire.INVALID_RECORD
    assert said.record_errors == tuple((index, why) for index in range(4))
    assert said.message.startswith("One or more records have been rejected due to 4 record errors "
                                   "in total, and only showing the first three errors at most: [")
    assert said.message.count("RecordError(batchIndex=") == 3
    keyed = Batch(values=(b"a",), key=b"k", timestamp=now_ms())
    assert connection.produce(topic, keyed.encode()) == (wire.NONE, 0)


def test_sizes_have_limits(broker, ground, connection, topic):
    clients.create_topic(broker.address, topic, max_message_bytes=3 << 20, segment_bytes=1 << 20)
    over_segment = Batch(values=(b"x" * (1 << 20),), timestamp=now_ms())
    assert connection.produced(topic, over_segment.encode()).error == wire.RECORD_LIST_TOO_LARGE
    over_topic = Batch(values=(b"x" * (3 << 20),), timestamp=now_ms())
    assert connection.produced(topic, over_topic.encode()).error == wire.MESSAGE_TOO_LARGE


@pytest.mark.parametrize(("name", "batch", "how", "error"), [
    ("there is no such partition", Batch(), {"partition": 7}, wire.UNKNOWN_TOPIC_OR_PARTITION),
    ("acks 5", Batch(), {"acks": 5}, wire.INVALID_REQUIRED_ACKS),
    ("acks 5 and a bad shape", Batch(magic=1), {"acks": 5}, wire.INVALID_RECORD),
    ("acks 5 and a bad CRC", Batch(crc=1), {"acks": 5}, wire.INVALID_REQUIRED_ACKS),
    ("bad CRC", Batch(crc=1), {}, wire.CORRUPT_MESSAGE),
    ("control batch", Batch(attributes=wire.CONTROL), {}, wire.INVALID_RECORD),
    ("magic 9", Batch(magic=9), {}, wire.CORRUPT_MESSAGE),
    ("count and last offset", Batch(last_offset_delta=5), {}, wire.INVALID_RECORD),
    ("no sequence", Batch(producer_id=5, producer_epoch=0), {}, wire.INVALID_RECORD),
], ids=lambda value: value if isinstance(value, str) else "")
def test_refusals_have_kafkas_numbers(broker, ground, connection, topic, name, batch, how, error):
    clients.create_topic(broker.address, topic)
    said = connection.produced(topic, batch.but(timestamp=now_ms()).encode(), **how)
    assert (said.error, said.offset) == (error, -1), name
    assert connection.produce(topic, Batch(timestamp=now_ms()).encode()) == (wire.NONE, 0)


def test_the_topics_codec_holds_for_all_producers(broker, ground, connection, topic):
    """Every codec is made of every other, and every client reads what came of it."""
    value = b"some text that compresses " * 40
    for wanted in ("uncompressed", "gzip", "snappy", "lz4", "zstd"):
        name = f"{topic}-{wanted}"
        clients.create_topic(broker.address, name, compression_type=wanted)
        for sent in CODEC:
            producer = confluent_kafka.Producer({
                "bootstrap.servers": broker.address, "compression.codec": sent, "linger.ms": 50})
            for number in range(10):
                producer.produce(name, value, key=str(number), headers=[("sent", sent)])
            assert producer.flush(30) == 0
        batches = stored(connection, name)
        is_wanted = CODEC["none" if wanted == "uncompressed" else wanted]
        assert {batch["codec"] for batch in batches} == {is_wanted}
        assert sum(batch["count"] for batch in batches) == 50
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker.address, "group.id": "nobody", "check.crcs": True,
            "enable.auto.commit": False})
        consumer.assign([confluent_kafka.TopicPartition(name, 0, 0)])
        came = []
        while len(came) < 50:
            messages = consumer.consume(50, timeout=20)
            assert messages, f"{len(came)} records, then none"
            came += messages
        consumer.close()
        assert [message.key() for message in came] == [b"%d" % n for n in range(10)] * len(CODEC)
        assert {message.value() for message in came} == {value}


def test_a_batch_too_large_in_the_topics_codec_is_refused(broker, ground, connection, topic):
    """It came small and would be stored large."""
    clients.create_topic(broker.address, topic, compression_type="uncompressed",
                         max_message_bytes=10_000)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address,
                                         "compression.codec": "gzip"})
    failures = []
    producer.produce(topic, b"x" * 20_000, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(30) == 0
    assert failures[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
    assert connection.produce(topic, Batch(timestamp=now_ms()).encode()) == (wire.NONE, 0)


def test_recoding_keeps_duplicates_and_append_time(broker, ground, connection, topic, sent_by):
    clients.create_topic(broker.address, topic, compression_type="zstd",
                         message_timestamp_type="LogAppendTime")
    assert connection.produce(topic, sent_by(0, count=3)) == (wire.NONE, 0)
    assert connection.produce(topic, sent_by(3)) == (wire.NONE, 3)
    assert connection.produce(topic, sent_by(0, count=3)) == (wire.NONE, 0)
    first, second = stored(connection, topic)
    assert (first["codec"], second["codec"]) == (CODEC["zstd"], CODEC["zstd"])
    assert first["attributes"] & LOG_APPEND_TIME and first["count"] == 3
