"""What clients rely on and never say: order of answers, long polls, fetch sessions, timestamps,
and sequence numbers. Raw frames where a client would hide the detail."""

import threading
import time

import kafka
import pytest

from lab import clients, wire
from lab.wire import Batch, Connection


@pytest.fixture
def connection(broker, topic):
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        yield connection


@pytest.mark.everywhere
def test_answers_come_in_the_order_of_requests(broker, ground, topic, connection):
    asked = []
    for number in range(60):
        record = Batch(values=(b"%d" % number,)).encode()
        asked.append(connection.send(wire.PRODUCE, 3, wire.produce_body(topic, record)))
        asked.append(connection.send(wire.METADATA, 1, wire.array([wire.string(topic)])))
        asked.append(connection.send(wire.FETCH, 4, wire.fetch_body(topic, number)))
    answers = [connection.receive() for _ in asked]
    assert [correlation for correlation, _ in answers] == asked
    produced = [wire.read_produced(answer) for _, answer in answers[::3]]
    assert produced == [(wire.NONE, number) for number in range(60)]
    # A fetch takes effect after the produce before it: it sees its record.
    for number, (_, answer) in enumerate(answers[2::3]):
        (error, high_watermark, records), = wire.read_fetched(answer)
        assert error == wire.NONE and high_watermark >= number + 1 and records


def test_a_fetch_at_the_end_waits_its_time(connection, ground, topic):
    started = time.monotonic()
    (error, _, records), = connection.fetch(topic, max_wait_ms=700)
    assert (error, records) == (wire.NONE, b"")
    assert 0.65 < time.monotonic() - started < 1.5


@pytest.mark.everywhere
def test_a_waiting_fetch_wakes_for_a_record(broker, connection, ground, topic):
    with Connection(broker.endpoint) as writer:
        later = threading.Timer(0.3, writer.produce, (topic, Batch().encode()))
        later.start()
        started = time.monotonic()
        (error, _, records), = connection.fetch(topic, max_wait_ms=8_000)
        waited = time.monotonic() - started
        later.join()
    assert error == wire.NONE and records
    assert 0.2 < waited < 1.5


def test_min_bytes_counts_over_all_partitions(broker, ground, topic):
    clients.create_topic(broker.address, topic, partitions=4)
    record = Batch(values=(b"x" * 400,)).encode()
    with Connection(broker.endpoint) as writer, Connection(broker.endpoint) as reader:
        reader.send(wire.FETCH, 4, wire.fetch_body(
            topic, partitions=range(4), max_wait_ms=8_000, min_bytes=3 * len(record)))
        started = time.monotonic()
        for partition in range(3):
            time.sleep(0.1)
            assert writer.produce(topic, record, partition=partition)[0] == wire.NONE
        fetched = wire.read_fetched(reader.receive()[1])
    assert 0.25 < time.monotonic() - started < 3
    assert sum(len(records) for _, _, records in fetched) >= 3 * len(record)


def test_max_bytes_holds_but_one_batch_always_comes(broker, ground, topic, connection):
    for _ in range(4):
        connection.produce(topic, Batch(values=(b"x" * 5_000,)).encode())
    (_, _, little), = connection.fetch(topic, max_bytes=1)
    (_, _, two), = connection.fetch(topic, max_bytes=11_000)
    assert 5_000 < len(little) < 6_000
    assert 10_000 < len(two) < 12_000


def test_an_offset_inside_a_batch_gets_the_whole_batch(connection, ground, topic):
    batch = Batch(values=(b"a", b"b", b"c")).encode()
    connection.produce(topic, batch)
    (error, _, records), = connection.fetch(topic, 2)
    assert error == wire.NONE and records[16:] == batch[16:]


def test_an_offset_out_of_range_is_an_error(connection, ground, topic):
    offset_out_of_range = 1
    (error, _, _), = connection.fetch(topic, 5)
    assert error == offset_out_of_range


def test_a_fetch_session_omits_what_did_not_change(broker, ground, topic):
    clients.create_topic(broker.address, topic, partitions=5)
    with Connection(broker.endpoint) as connection:
        error, session, partitions = connection.fetch_session(
            topic, (0, 0), partitions=range(5), max_wait_ms=0)
        assert error == wire.NONE and session != 0 and len(partitions) == 5
        connection.produce(topic, Batch().encode(), partition=3)
        error, again, partitions = connection.fetch_session(topic, (session, 1), partitions=())
        assert (error, again) == (wire.NONE, session)
        assert len(partitions) == 1 and partitions[0][1] == 1
        error, _, _ = connection.fetch_session(topic, (session, 9), partitions=())
        assert error == wire.INVALID_FETCH_SESSION_EPOCH
        error, _, _ = connection.fetch_session(topic, (session ^ 0x5555, 2), partitions=())
        assert error == wire.FETCH_SESSION_ID_NOT_FOUND


def test_a_consumer_of_many_partitions_misses_nothing(broker, ground, topic):
    """kafka-python fetches incrementally: a session of forty partitions that change by turns."""
    clients.create_topic(broker.address, topic, partitions=40)
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker.address, group_id=None,
                                   auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    consumer.assign([kafka.TopicPartition(topic, index) for index in range(40)])
    sent = [(number % 40, b"%d" % number) for number in range(400)]
    with Connection(broker.endpoint) as writer:
        came = []
        for partition, value in sent:
            batch = Batch(values=(value,)).encode()
            assert writer.produce(topic, batch, partition=partition)[0] == wire.NONE
            for records in consumer.poll(timeout_ms=0).values():
                came += [(record.partition, record.value) for record in records]
        while len(came) < len(sent):
            record = next(consumer)
            came.append((record.partition, record.value))
    consumer.close()
    assert sorted(came) == sorted(sent)


def test_a_repeated_batch_keeps_its_first_offset(connection, ground, topic):
    """Idempotence, by hand: the last five batches of a producer are known, a gap is refused."""
    first = Batch(producer_id=40, producer_epoch=0, sequence=0)
    for sequence in range(3):
        batch = first.but(sequence=sequence).encode()
        assert connection.produce(topic, batch) == (wire.NONE, sequence)
    assert connection.produce(topic, first.encode()) == (wire.NONE, 0)
    assert connection.produce(topic, first.but(sequence=2).encode()) == (wire.NONE, 2)
    gap = first.but(sequence=9).encode()
    assert connection.produce(topic, gap)[0] == wire.OUT_OF_ORDER_SEQUENCE
    assert connection.produce(topic, first.but(sequence=3).encode()) == (wire.NONE, 3)


START_MS = 1_700_000_000_000


def test_timestamps_lead_to_offsets(broker, connection, ground, topic):
    for step, timestamp in enumerate([START_MS, START_MS + 5_000, START_MS + 2_000]):
        batch = Batch(values=(b"%d" % step,), timestamp=timestamp)
        assert connection.produce(topic, batch.encode()) == (wire.NONE, step)
    found = {wanted: connection.offset_at(topic, wanted)[1:] for wanted in
             (START_MS - 1, START_MS + 1, START_MS + 5_000, START_MS + 5_001)}
    assert found == {START_MS - 1: (START_MS, 0), START_MS + 1: (START_MS + 5_000, 1),
                     START_MS + 5_000: (START_MS + 5_000, 1), START_MS + 5_001: (-1, -1)}
    ends = {"-2": 0, "-1": 3, "-3": 1, str(START_MS + 1_500): 1}
    for wanted, offset in ends.items():
        said = clients.java_tool("get-offsets", "--bootstrap-server", broker.address, "--topic",
                                 topic, "--time", wanted)
        assert said.strip() == f"{topic}:0:{offset}", wanted


def test_a_lying_max_timestamp_is_corrected(connection, ground, topic):
    connection.produce(topic, Batch(timestamp=START_MS, max_timestamp=START_MS + 10**9).encode())
    assert connection.offset_at(topic, START_MS)[1:] == (START_MS, 0)
    assert connection.offset_at(topic, START_MS + 1)[1:] == (-1, -1)


def test_log_append_time_is_the_brokers(broker, ground, topic, all_clients, tmp_path):
    clients.create_topic(broker.address, topic, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1_000)
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, Batch(timestamp=START_MS).encode()) == (wire.NONE, 0)
        error, timestamp, offset = connection.offset_at(topic, before - 1_000)
    assert (error, offset) == (wire.NONE, 0)
    assert before - 1_000 <= timestamp <= int(time.time() * 1_000) + 1_000
    # The CRC was computed anew: a client that checks it reads the record.
    all_clients["kafka-python"].consume(broker.address, topic, 1, tmp_path / "came")
    assert (tmp_path / "came").read_bytes() == b"value\n"


def test_a_partition_named_twice_is_fetched_once(broker, ground, topic, connection):
    assert connection.produce(topic, Batch().encode()) == (wire.NONE, 0)
    (error, high_watermark, records), = connection.fetch(topic, partitions=(0, 0))
    assert (error, high_watermark) == (wire.NONE, 1) and records


def test_a_client_that_takes_no_bytes_still_gets_on(broker, ground, topic, connection):
    """As in Kafka the first batch comes whole, or a client with a small limit would stand for
    ever."""
    assert connection.produce(topic, Batch().encode()) == (wire.NONE, 0)
    (error, _, records), = connection.fetch(topic, max_bytes=0)
    assert error == wire.NONE and records
