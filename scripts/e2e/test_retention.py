"""What topics forget: by DeleteRecords, by age, by size, and with the topic itself; seen by
unmodified clients. Where it needs no settings of its own, a real Kafka passes the same tests
(`--broker`)."""

import json
import threading
import time
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import kafka
import pytest

from lab import clients, wire
from lab.clients import java_tool
from lab.wire import Batch, Connection

EARLIEST, LATEST = -2, -1
MIB = 1 << 20


def admin(broker) -> confluent_kafka.admin.AdminClient:
    return confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})


def now_ms() -> int:
    return int(time.time() * 1000)


def three_records() -> bytes:
    return Batch(values=(b"a", b"b", b"c"), timestamp=now_ms()).encode()


def write(broker, topic: str, values, **settings) -> None:
    """By librdkafka; raises what it could not deliver."""
    failures = []
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "linger.ms": 5, **settings,
        "on_delivery": lambda error, _: failures.append(error) if error else None})
    for value in values:
        producer.produce(topic, value, partition=0)
        producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures[:1]


def log_start(broker, topic: str) -> int:
    with Connection(broker.endpoint) as connection:
        error, offset, _ = connection.offset_and_epoch(topic, EARLIEST)
        assert error == wire.NONE
        return offset


def wait_until(holds, what: str, patience_s=30):
    deadline = time.monotonic() + patience_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what}: not in {patience_s} s"
        time.sleep(0.05)
    return value


def bytes_below(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_lookup_by_time_goes_on_behind_the_batch_that_the_log_begins_in(broker, ground, topic):
    """Its only record that is late enough was deleted: the answer is in the next batch."""
    clients.create_topic(broker.address, topic)
    first = now_ms()
    for times in [(first + 3000, first, first), (first + 4000,)]:
        producer = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "linger.ms": 500})
        for timestamp in times:
            producer.produce(topic, b"v", partition=0, timestamp=timestamp)
        assert producer.flush(60) == 0
    with Connection(broker.endpoint) as connection:
        assert connection.delete_records(topic, (0, 1)) == [(0, 1, wire.NONE)]
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": topic})
    asked = confluent_kafka.TopicPartition(topic, 0, first + 2000)
    found = consumer.offsets_for_times([asked], timeout=30)
    consumer.close()
    assert found[0].offset == 3


def test_the_largest_timestamp_is_found_behind_a_start_inside_its_batch(broker, ground, topic):
    """Kafka's segments remember it, whatever DeleteRecords has hidden of them."""
    clients.create_topic(broker.address, topic)
    first = now_ms()
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "linger.ms": 500})
    for timestamp in (first, first + 3000, first + 1000, first + 2000):
        producer.produce(topic, b"v", partition=0, timestamp=timestamp)
    assert producer.flush(60) == 0
    partition = confluent_kafka.TopicPartition(topic, 0)
    with Connection(broker.endpoint) as connection:
        assert connection.delete_records(topic, (0, 3)) == [(0, 3, wire.NONE)]
    wish = {partition: confluent_kafka.admin.OffsetSpec.max_timestamp()}
    # Held until it has answered: one that is collected meanwhile never does.
    client = admin(broker)
    found = client.list_offsets(wish)[partition].result(30)
    assert (found.offset, found.timestamp) == (1, first + 3000)


def test_deleting_records_answers_as_kafka_does(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        delete = connection.delete_records
        assert delete(topic, (0, -1)) == [(0, 0, wire.NONE)]
        assert delete(topic, (0, 1)) == [(0, -1, wire.OFFSET_OUT_OF_RANGE)]
        for _ in range(4):
            assert connection.produce(topic, three_records())[0] == wire.NONE
        for wrong in (13, -2, -2**63):
            assert delete(topic, (0, wrong)) == [(0, -1, wire.OFFSET_OUT_OF_RANGE)]
        unknown = wire.UNKNOWN_TOPIC_OR_PARTITION
        assert delete(topic, (7, 0)) == [(7, -1, unknown)]
        assert delete(topic + "-no", (0, 0)) == [(0, -1, unknown)]
        # In the middle of a batch: it comes whole, and the client passes over what is gone.
        assert delete(topic, (0, 4)) == [(0, 4, wire.NONE)]
        assert delete(topic, (0, 2)) == [(0, 4, wire.NONE)]
        assert delete(topic, (0, 4), (0, 5)) == [(0, 5, wire.NONE)]
        assert connection.offset_and_epoch(topic, EARLIEST) == (wire.NONE, 5, 0)
        assert connection.offset_at(topic, 0)[2] == 5
        assert connection.fetch_extent(topic, 4) == (wire.OFFSET_OUT_OF_RANGE, -1, -1, b"")
        error, high_watermark, start, records = connection.fetch_extent(topic, 5)
        assert (error, high_watermark, start) == (wire.NONE, 12, 5)
        assert int.from_bytes(records[:8]) == 3
        # All of it: the log goes on where it ended.
        assert delete(topic, (0, -1)) == [(0, 12, wire.NONE)]
        assert connection.fetch_extent(topic, 12) == (wire.NONE, 12, 12, b"")
        assert connection.offset_at(topic, 0) == (wire.NONE, -1, -1)
        assert connection.produce(topic, three_records()) == (wire.NONE, 12)


def test_a_compacted_topic_refuses_to_delete_records(broker, ground, topic):
    clients.create_topic(broker.address, topic, cleanup_policy="compact")
    clients.create_topic(broker.address, topic + "-both", cleanup_policy="compact,delete")
    with Connection(broker.endpoint) as connection:
        assert connection.delete_records(topic, (0, 0)) == [(0, -1, wire.POLICY_VIOLATION)]
        assert connection.delete_records(topic + "-both", (0, 0)) == [(0, 0, wire.NONE)]


def test_clients_delete_records_and_read_the_rest(broker, ground, topic, all_clients, tmp_path):
    clients.create_topic(broker.address, topic, partitions=3)
    write(broker, topic, [b"%d" % number for number in range(100)])
    asked = tmp_path / "asked.json"
    wanted = [{"topic": topic, "partition": 0, "offset": 70},
              {"topic": topic, "partition": 1, "offset": -1}]
    asked.write_text(json.dumps({"partitions": wanted, "version": 1}))
    said = java_tool("org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server",
                     broker.address, "--offset-json-file", str(asked))
    assert f"partition: {topic}-0\tlow_watermark: 70" in said
    partition = confluent_kafka.TopicPartition(topic, 0, 90)
    librdkafka = admin(broker)
    gone = librdkafka.delete_records([partition])[partition].result(30)
    assert gone.low_watermark == 90
    for name in ("kcat", "kafka-python", "java"):
        came = tmp_path / name
        all_clients[name].consume(broker.address, topic, 10, came)
        assert came.read_bytes().split() == [b"%d" % number for number in range(90, 100)]


def test_deleted_records_stay_deleted_under_any_number_of_shards(spate, ground, topic):
    broker = spate(shards=2).start()
    clients.create_topic(broker.address, topic, partitions=4)
    with Connection(broker.endpoint) as connection:
        for partition in range(4):
            for _ in range(3):
                connection.produce(topic, three_records(), partition=partition)
        before = [(0, 1), (1, 5), (2, 9), (3, 0)]
        assert connection.delete_records(topic, *before) == [(*one, wire.NONE) for one in before]
    for shards in (3, 1):
        broker.restart(shards=shards)
        with Connection(broker.endpoint) as connection:
            assert connection.delete_records(topic, *((n, 0) for n in range(4))) == [
                (*one, wire.NONE) for one in before]
            # The epoch is that of the record there, or of the present leader where none is.
            assert connection.offset_and_epoch(topic, EARLIEST) == (wire.NONE, 1, 0)
            assert connection.offset_and_epoch(topic, LATEST)[2] > 0


def test_a_topic_larger_than_it_may_be_loses_its_oldest_segments(spate, ground, topic):
    often = {"log.retention.check.interval.ms": 100}
    broker = spate(shards=2, settings=often).start()
    clients.create_topic(broker.address, topic, segment_bytes=MIB, retention_bytes=3 * MIB)
    write(broker, topic, (b"%08d" % number * 512 for number in range(5_000)))
    start = wait_until(lambda: log_start(broker, topic), "the log begins later")
    # What is kept is never less than the limit, and less than one segment more.
    start = wait_until(lambda: (now := log_start(broker, topic)) >= 3_700 and now, "3 MiB left")
    assert start <= 5_000 - 3 * MIB // 4_200
    wait_until(lambda: bytes_below(broker.data / "topics") < 16 * MIB, "files go")
    broker.restart(shards=1)
    assert log_start(broker, topic) >= start
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker.address, group_id=None,
                                   auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    consumer.assign([kafka.TopicPartition(topic, 0)])
    for expected in range(log_start(broker, topic), 5_000):
        record = next(consumer)
        assert (record.offset, record.value[:8]) == (expected, b"%08d" % expected)
    consumer.close()


def test_an_old_topic_is_forgotten_as_a_whole(spate, ground, topic):
    """The active segment too, as in Kafka; its file, and its name, go on with the next record."""
    broker = spate(settings={"log.retention.check.interval.ms": 100}).start()
    hour_ms = 3_600_000
    clients.create_topic(broker.address, topic, retention_ms=hour_ms)
    with Connection(broker.endpoint) as connection:
        old = Batch(values=(b"x" * 200_000,), timestamp=now_ms() - 2 * hour_ms).encode()
        for _ in range(20):
            assert connection.produce(topic, old)[0] == wire.NONE
        wait_until(lambda: log_start(broker, topic) == 20, "all is too old")
        wait_until(lambda: not bytes_below(broker.data / "topics"), "no file is left")
        assert connection.produce(topic, three_records()) == (wire.NONE, 20)
        broker.restart()
        assert log_start(broker, topic) == 20
    time.sleep(0.5)
    assert log_start(broker, topic) == 20, "young records stay"


def test_readers_see_their_records_or_a_later_start(broker, ground, topic):
    """Records are deleted under a reader that begins again at the start when it is told so: each
    record says its own offset."""
    clients.create_topic(broker.address, topic, segment_bytes=MIB)
    count = 6_000
    write(broker, topic, (b"%08d" % number * 256 for number in range(count)))

    def delete():
        with Connection(broker.endpoint) as connection:
            for before in range(0, count - 500, 50):
                assert connection.delete_records(topic, (0, before)) == [(0, before, wire.NONE)]
                time.sleep(0.01)

    deleting = threading.Thread(target=delete, daemon=True)
    deleting.start()
    for _ in range(3):
        consumer = kafka.KafkaConsumer(bootstrap_servers=broker.address, group_id=None,
                                       auto_offset_reset="earliest", consumer_timeout_ms=20_000,
                                       max_partition_fetch_bytes=100_000)
        consumer.assign([kafka.TopicPartition(topic, 0)])
        last = -1
        for record in consumer:
            assert record.value == b"%08d" % record.offset * 256
            assert record.offset > last
            last = record.offset
            if last == count - 1:
                break
        consumer.close()
        assert last == count - 1
    deleting.join()


def test_a_topic_is_made_anew_under_load(broker, ground, topic):
    """Producers go on by name, whatever is behind it; what a generation acknowledged is there."""
    stop = threading.Event()
    told = []

    def load():
        producer = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "message.timeout.ms": 20_000, "linger.ms": 1,
            "topic.metadata.refresh.interval.ms": 200})
        while not stop.is_set():
            try:
                producer.produce(topic, b"x" * 1000, partition=0,
                                 on_delivery=lambda error, _: told.append(error))
            except BufferError:
                pass
            producer.poll(0.001)
        producer.flush(30)

    clients.create_topic(broker.address, topic)
    librdkafka = admin(broker)
    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    for _ in range(5):
        seen = len(told)
        wait_until(lambda seen=seen: len(told) > seen + 50, "records are acknowledged")
        librdkafka.delete_topics([topic])[topic].result(30)
        try:
            clients.create_topic(broker.address, topic)
        except confluent_kafka.KafkaException as exists:
            # The producer's question for its topic may have made it first.
            assert exists.args[0].code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
    stop.set()
    loading.join()
    assert told.count(None) > 250
    with Connection(broker.endpoint) as connection:
        error, high_watermark, start, _ = connection.fetch_extent(topic, 0)
        assert (error, start) == (wire.NONE, 0) and high_watermark <= told.count(None)


def test_space_comes_back_with_a_thousand_topics_gone(spate, ground):
    broker = spate(shards=2).start()
    names = [f"many-{number}" for number in range(1_000)]
    librdkafka = admin(broker)
    made = librdkafka.create_topics([
        confluent_kafka.admin.NewTopic(name, 1, 1) for name in names])
    for result in made.values():
        result.result(60)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address})
    for name in names[::10]:
        producer.produce(name, b"x" * 300_000)
    assert producer.flush(60) == 0
    wait_until(lambda: bytes_below(broker.data / "topics"), "some have files")
    for result in librdkafka.delete_topics(names).values():
        result.result(60)
    topics = broker.data / "topics"
    wait_until(lambda: not list(topics.iterdir()), "every file and directory is gone")
    broker.restart()
    assert not admin(broker).list_topics(timeout=10).topics


@pytest.mark.parametrize("delay_ms", [0, 20, 60])
def test_a_kill_in_the_middle_of_a_deletion_leaves_all_or_nothing(spate, ground, topic, delay_ms):
    broker = spate(shards=2).start()
    clients.create_topic(broker.address, topic, partitions=4)
    clients.create_topic(broker.address, topic + "-other")
    with Connection(broker.endpoint) as connection:
        large = Batch(values=(b"x" * 300_000,), timestamp=now_ms()).encode()
        for partition in range(4):
            assert connection.produce(topic, large, partition=partition)[0] == wire.NONE
        assert connection.produce(topic + "-other", large)[0] == wire.NONE
    librdkafka = admin(broker)
    librdkafka.delete_topics([topic])
    time.sleep(delay_ms / 1000)
    broker.restart(shards=1)
    left = admin(broker).list_topics(timeout=10).topics
    with Connection(broker.endpoint) as connection:
        if topic in left:
            answers = connection.fetch(topic, partitions=range(4))
            assert [(error, end) for error, end, _ in answers] == [(wire.NONE, 1)] * 4
        else:
            assert len(list((broker.data / "topics").iterdir())) == 1
        assert connection.fetch(topic + "-other")[0][:2] == (wire.NONE, 1)
