"""Start, stop, kill, start again: what was acknowledged stays, and nobody shares a data
directory."""

import re
import socket
import subprocess
import threading
import time

import confluent_kafka
import pytest

from lab import clients, payload, wire
from lab.broker import DidNotStart
from lab.wire import Batch, Connection

PARTITIONS = 7
STOP_S_MAX = 5


def fill(address: str, topic: str, seed: int) -> list[tuple[int, int, bytes]]:
    """Writes a megabyte over all partitions; what was acknowledged, with its offset."""
    acknowledged = []
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "linger.ms": 2})

    def delivered(error, message):
        assert not error, error
        acknowledged.append((message.partition(), message.offset(), message.value()))

    for number, line in enumerate(payload.lines(seed, 1 << 20)):
        producer.produce(topic, line, partition=number % PARTITIONS, on_delivery=delivered)
    assert producer.flush(60) == 0
    return sorted(acknowledged)


def read_all(address: str, topic: str, count: int) -> list[tuple[int, int, bytes]]:
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": address, "group.id": "nobody", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(topic, index, 0)
                     for index in range(PARTITIONS)])
    found = []
    while len(found) < count:
        messages = consumer.consume(count - len(found), timeout=10)
        assert messages, f"{len(found)} of {count} records, then none for 10 s"
        found += [(one.partition(), one.offset(), one.value()) for one in messages]
    consumer.close()
    return sorted(found)


@pytest.mark.everywhere
def test_kill_and_restart_keep_every_acknowledged_record(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic, partitions=PARTITIONS)
    acknowledged = []
    for seed in range(3):
        acknowledged += fill(broker.address, topic, seed)
        broker.restart()
        assert read_all(broker.address, topic, len(acknowledged)) == sorted(acknowledged)


def test_any_number_of_shards_reads_what_another_wrote(spate, ground, topic):
    broker = spate(shards=2).start()
    clients.create_topic(broker.address, topic, partitions=PARTITIONS)
    acknowledged = []
    for shards in (5, 1, 3, 2):
        acknowledged += fill(broker.address, topic, shards)
        broker.restart(shards=shards)
        assert read_all(broker.address, topic, len(acknowledged)) == sorted(acknowledged)


def test_more_than_the_journals_hold_survives(spate, ground, topic, tmp_path):
    """Segments, reuse of journal files, and recovery over both."""
    broker = spate(shards=1, settings={"journal.bytes": 16 << 20, "journal.file.bytes": 4 << 20})
    broker.start()
    clients.create_topic(broker.address, topic)
    sent, came = tmp_path / "sent", tmp_path / "came"
    count = payload.write_lines(sent, seed=9, total_bytes=100 << 20)
    clients.Confluent().produce(broker.address, topic, sent)
    for _ in range(2):
        broker.restart()
        clients.Kcat().consume(broker.address, topic, count, came)
        assert subprocess.run(["cmp", sent, came], check=False).returncode == 0


def test_sequences_are_remembered_over_a_restart(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic)
    first = Batch(producer_id=40, producer_epoch=0, sequence=0)
    second = first.but(sequence=1)
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, first.encode()) == (wire.NONE, 0)
        assert connection.produce(topic, second.encode()) == (wire.NONE, 1)
    broker.restart()
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, second.encode()) == (wire.NONE, 1)
        assert connection.produce(topic, first.encode()) == (wire.NONE, 0)
        gap = first.but(sequence=7).encode()
        assert connection.produce(topic, gap)[0] == wire.OUT_OF_ORDER_SEQUENCE
        assert connection.produce(topic, first.but(sequence=2).encode()) == (wire.NONE, 2)


def test_a_second_broker_on_the_same_data_is_refused(spate, ground, topic):
    first = spate().start()
    second = spate()
    second.data = first.data
    with pytest.raises(DidNotStart, match=rf"\b{first.pid}\b"):
        second.start()
    second.log.unlink()  # its error was expected
    clients.create_topic(first.address, topic)


def test_a_second_broker_on_the_same_port_is_refused(spate, ground):
    first = spate().start()
    second = spate()
    second.address = first.address
    with pytest.raises(DidNotStart, match=first.address):
        second.start()
    second.log.unlink()


@pytest.mark.everywhere
def test_sigterm_ends_it_within_seconds_under_load(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic, partitions=PARTITIONS)
    idle = [Connection(broker.endpoint) for _ in range(10)]
    waiting = Connection(broker.endpoint)
    waiting.send(wire.FETCH, 4, wire.fetch_body(topic, max_wait_ms=60_000))
    load = threading.Thread(target=write_until_closed, args=(broker.endpoint, topic))
    load.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - started < STOP_S_MAX
    load.join(10)
    assert not load.is_alive()
    for connection in [*idle, waiting]:
        assert connection.is_closed_by_peer()


def write_until_closed(endpoint, topic: str) -> None:
    with Connection(endpoint) as connection:
        try:
            while True:
                connection.produce(topic, Batch(values=(b"x" * 1_000,)).encode(), partition=1)
        except (wire.Closed, OSError):
            pass


def test_a_clean_stop_loses_nothing(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic, partitions=PARTITIONS)
    acknowledged = fill(broker.address, topic, seed=4)
    assert broker.stop() == 0
    broker.start()
    assert read_all(broker.address, topic, len(acknowledged)) == acknowledged


def test_an_empty_broker_starts_at_once(spate, ground):
    broker = spate().start()
    assert broker.start_s < 1.0  # a loaded machine; scripts/idle measures the 100 ms
    broker.restart()
    assert broker.start_s < 1.0


def test_without_arguments_it_says_where_it_is(spate, ground, binary, tmp_path):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 9092)) == 0:
            pytest.skip("port 9092 is in use")
    process = subprocess.Popen([binary], cwd=tmp_path, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        told = "".join(said)
        assert "127.0.0.1:9092" in told and "spate-data" in told and "produce" in told, told
        assert len(said) <= 4
        assert (tmp_path / "spate-data").is_dir()
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.everywhere
def test_the_ground_is_met_as_expected(spate, ground):
    """Where the kernel refuses something, the log names the reason and the remedy."""
    broker = spate().start()
    said = broker.log_text()
    if ground == "no-io-uring":
        assert re.search(r"WARN.*io_uring", said) and "epoll" in said, said
    if ground == "little-memlock":
        assert re.search(r"(?i)memlock|locked memory", said), said
    if ground in ("io_uring", "epoll"):
        assert not broker.complaints()
