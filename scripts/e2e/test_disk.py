"""A disk that fills up and a disk that fails: what clients are told, and that it goes on by itself.

On an ext4 file system of 256 MiB in a file, with 16 MiB of journal for the one shard. Where this
machine mounts no image the tests are skipped and say why."""

import struct
import time

import confluent_kafka
import pytest

from lab import clients, wire
from lab.broker import Broker
from lab.image import Image, Refused
from lab.wire import Batch, Connection, array, string

MIB = 1 << 20
IMAGE_BYTES = 256 * MIB
KAFKA_STORAGE_ERROR = 56
DESCRIBE_LOG_DIRS = 35
DEADLINE_S = 60

FULL = r"disk is (getting )?full"


@pytest.fixture
def image(tmp_path):
    try:
        with Image(tmp_path / "disk", IMAGE_BYTES) as image:
            yield image
    except Refused as refusal:
        pytest.skip(f"no image can be mounted here: {refusal}")


@pytest.fixture
def small(image, spate) -> Broker:
    """A broker, not started, whose data directory is the image."""
    broker = spate(shards=1, settings={"journal.bytes": 16 * MIB, "memory.open.bytes": 32 * MIB})
    broker.data = image.place / "data"
    return broker


def until(what: str, condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {DEADLINE_S} s"
        time.sleep(0.1)


def disk_is(broker, state: str) -> bool:
    return any(line.split() == ["disk_state", state] for line in broker.statistics().splitlines())


def produce_until_full(broker, topic: str, patience_ms=4000) -> list[int]:
    """Sends 64 KiB records until the disk is full and one is given up; the numbers of those
    that were acknowledged."""
    acknowledged, failed = [], []
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 5,
        "message.timeout.ms": patience_ms, "queue.buffering.max.kbytes": 1024})
    number = 0
    while not (failed and disk_is(broker, "full")):
        assert number * 64 * 1024 < 2 * IMAGE_BYTES, "nothing was ever refused"
        def told(error, _, number=number):
            return (failed if error else acknowledged).append(number)
        try:
            producer.produce(topic, b"%08d" % number + b"x" * 65_528, partition=0, on_delivery=told)
            number += 1
        except BufferError:
            pass
        producer.poll(0.01)
    producer.purge()
    producer.flush(30)
    return acknowledged


def consume_numbers(broker, topic: str) -> list[int]:
    """The number of every record that is there."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "nobody", "enable.auto.commit": False})
    partition = confluent_kafka.TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(partition, timeout=20)
    consumer.assign([partition])
    numbers = []
    while len(numbers) < end:
        message = consumer.poll(20)
        assert message is not None and not message.error(), f"after {len(numbers)} of {end}"
        numbers.append(int(message.value()[:8]))
    consumer.close()
    return numbers


def log_dir(broker) -> tuple[int, str, dict[tuple[str, int], int]]:
    """Error and name of the log directory, and the size of each partition."""
    with Connection(broker.endpoint) as connection:
        answer = connection.call(DESCRIBE_LOG_DIRS, 1, struct.pack(">i", -1))
    _throttle, count, error = answer.take("iih")
    assert count == 1
    name = answer.string()
    sizes = {}
    for _ in range(answer.take("i")):
        topic = answer.string()
        for _ in range(answer.take("i")):
            index, size, lag, is_future = answer.take("iqq?")
            assert (lag, is_future) == (0, False)
            sizes[topic, index] = size
    return error, name, sizes


def produced(connection, topic: str) -> tuple[int, int]:
    """Error and throttle time of one small record."""
    body = wire.produce_body(topic, Batch().encode())
    answer = connection.call(wire.PRODUCE, 3, body)
    answer.take("i")
    answer.string()
    _count, _partition, error, *_ = answer.take("iihqq")
    return error, answer.take("i")


@pytest.mark.warns(FULL)
def test_a_disk_fills_up_and_is_used_again(small, ground, topic):
    small.settings["disk.low.bytes"] = 0  # no slow phase before the end
    small.start()
    other = f"{topic}-other"
    for name in (topic, other):
        clients.create_topic(small.address, name)
    fill(small, other, 48 * MIB)
    acknowledged = produce_until_full(small, topic)
    assert len(acknowledged) * 65_536 > 20 * MIB, "it was refused long before the disk was full"
    assert set(acknowledged) <= set(consume_numbers(small, topic)), "an acknowledged record is lost"

    assert small.stop() == 0
    # The old journals made room for the fresh ones, which are short: it is soon full again.
    small.start()
    numbers = consume_numbers(small, topic)
    assert len(numbers) == len(set(numbers)) and set(acknowledged) <= set(numbers)
    produce_until_full(small, other)
    with Connection(small.endpoint) as connection:
        error, throttle_ms = produced(connection, topic)
        assert error == KAFKA_STORAGE_ERROR and throttle_ms > 0
    # A producer that waits since before there was space is served when there is, and a start
    # after kill -9 on the full disk comes up as well.
    small.restart()
    assert set(acknowledged) <= set(consume_numbers(small, topic))
    produce_until_full(small, other)
    delivered = []
    producer = confluent_kafka.Producer({"bootstrap.servers": small.address, "acks": "all"})
    producer.produce(topic, b"waiting", partition=0,
                     on_delivery=lambda error, message: delivered.append((error, message)))
    producer.poll(1)
    assert not delivered, "the disk was full a moment ago"
    assert small.cli("topic", "delete", other).returncode == 0
    assert producer.flush(DEADLINE_S) == 0
    assert delivered[0][0] is None
    until("an ample disk", lambda: disk_is(small, "ample") or disk_is(small, "low"))


def fill(broker, topic: str, total_bytes: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "linger.ms": 5,
                                         "queue.buffering.max.kbytes": 4096})
    for _ in range(total_bytes // 65_536):
        while True:
            try:
                producer.produce(topic, b"y" * 65_536, partition=0)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(DEADLINE_S) == 0


@pytest.mark.warns(FULL)
def test_a_disk_that_others_fill_loses_nothing(small, image, ground, topic):
    small.start()
    clients.create_topic(small.address, topic)
    marks = IMAGE_BYTES * 0.8
    filler = image.take_until(int(marks / 8))
    until("a low disk", lambda: disk_is(small, "low") or disk_is(small, "full"))
    with Connection(small.endpoint) as connection:
        _, throttle_ms = produced(connection, topic)
        assert throttle_ms > 0
    filler.unlink()
    until("space", lambda: disk_is(small, "ample"))
    image.take_until(0)
    until("a full disk", lambda: disk_is(small, "full"))
    acknowledged = produce_until_full(small, topic, patience_ms=2000)
    small.kill()
    filler.unlink()
    small.start()
    assert set(acknowledged) <= set(consume_numbers(small, topic))
    until("space", lambda: disk_is(small, "ample"))
    with Connection(small.endpoint) as connection:
        assert connection.produce(topic, Batch().encode())[0] == wire.NONE


@pytest.mark.warns(r"fenced|error|Input/output")
def test_a_failed_write_fences_the_disk_and_is_seen(small, image, ground, topic):
    small.start()
    clients.create_topic(small.address, topic)
    with Connection(small.endpoint) as connection:
        for number in range(5):
            assert connection.produce(topic, Batch().encode()) == (wire.NONE, number)
        error, name, sizes = log_dir(small)
        assert (error, name) == (wire.NONE, str(small.data))
        assert sizes[topic, 0] == 5 * len(Batch().encode())
        image.fail()
        assert connection.produce(topic, Batch().encode())[0] == KAFKA_STORAGE_ERROR
        assert connection.produce(topic, Batch().encode())[0] == KAFKA_STORAGE_ERROR
        (error, high_watermark, records), = connection.fetch(topic)
        assert (error, high_watermark) == (wire.NONE, 5) and records
    assert log_dir(small) == (KAFKA_STORAGE_ERROR, str(small.data), {})
    assert "fenced" in small.statistics()
    assert sum("the disk is fenced" in line for line in small.complaints()) == 1


def test_log_dirs_answers_for_the_topics_that_were_asked_for(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    body = array([string(topic) + array([struct.pack(">i", index) for index in (0, 7)]),
                  string(topic + "-unknown") + array([struct.pack(">i", 0)])])
    with Connection(broker.endpoint) as connection:
        answer = connection.call(DESCRIBE_LOG_DIRS, 1, body)
    _throttle, _count, error = answer.take("iih")
    answer.string()
    topics, name = answer.take("i"), answer.string()
    partitions, index, *_ = answer.take("iiqq?")
    assert (error, topics, name, partitions, index) == (wire.NONE, 1, topic, 1, 0)
