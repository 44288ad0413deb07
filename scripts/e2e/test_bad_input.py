"""What no good client sends: an error that names it or a closed connection, and nobody else
notices.

`bystander` is a connection that was there before; after every test it must still be served, and
the broker must not have grown."""

import random
import socket
import struct
import time

import pytest

from lab import clients, wire
from lab.wire import Batch, Closed, Connection

GROWTH_BYTES_MAX = 192 << 20
pytestmark = pytest.mark.warns(r"127\.0\.0\.1:\d+")


@pytest.fixture
def bystander(broker, topic):
    clients.create_topic(broker.address, topic)
    own = f"{topic}-bystander"
    clients.create_topic(broker.address, own)
    has_process = hasattr(broker, "resident_bytes")
    before = broker.resident_bytes() if has_process else 0
    with Connection(broker.endpoint) as connection:
        connection.topic = own
        assert connection.produce(own, Batch().encode()) == (wire.NONE, 0)
        yield connection
        assert_served(connection)
    assert not has_process or broker.resident_bytes() < before + GROWTH_BYTES_MAX


def assert_served(connection: Connection) -> None:
    error, offset = connection.produce(connection.topic, Batch().encode())
    assert error == wire.NONE
    (error, high_watermark, records), = connection.fetch(connection.topic, offset)
    assert (error, high_watermark) == (wire.NONE, offset + 1)
    assert records.endswith(Batch().encode()[16:])


def test_an_unknown_api_closes_the_connection(broker, ground, bystander):
    for key, version in [(9_999, 0), (-1, 0), (wire.METADATA, 99), (wire.PRODUCE, 99),
                         (wire.FETCH, 99), (wire.FETCH, 3), (wire.METADATA, -1)]:
        with Connection(broker.endpoint) as odd:
            odd.send(key, version, b"")
            assert odd.is_closed_by_peer(), (key, version)


def test_a_too_new_api_versions_is_told_the_range(broker, ground, bystander):
    with Connection(broker.endpoint) as new:
        no_tagged_fields = b"\0"
        answer = new.call(wire.API_VERSIONS, 99, no_tagged_fields + b"\x7f" * 20)
        error, count = answer.take("hi")
        ranges = {key: (low, high) for key, low, high in
                  (answer.take("hhh") for _ in range(count))}
    assert error == wire.UNSUPPORTED_VERSION
    assert ranges[wire.API_VERSIONS][0] == 0
    assert ranges[wire.API_VERSIONS][1] >= 3


GOOD = Batch(values=(b"one", b"two"))
REFUSED = {
    "bad crc": (GOOD.but(crc=1).encode(), {wire.CORRUPT_MESSAGE}),
    "old magic": (GOOD.but(magic=1).encode(), {wire.INVALID_RECORD, wire.CORRUPT_MESSAGE}),
    "new magic": (GOOD.but(magic=3).encode(), {wire.INVALID_RECORD, wire.CORRUPT_MESSAGE}),
    "two batches": (GOOD.encode() * 2, {wire.INVALID_RECORD}),
    "no batch": (b"", {wire.INVALID_RECORD}),
    "cut in the head": (GOOD.encode()[:40], {wire.CORRUPT_MESSAGE, wire.INVALID_RECORD}),
    "cut in the body": (GOOD.encode()[:-3], {wire.CORRUPT_MESSAGE, wire.INVALID_RECORD}),
    "length too small": (GOOD.but(length_error=-20).encode(),
                         {wire.CORRUPT_MESSAGE, wire.INVALID_RECORD}),
    "length negative": (GOOD.but(length_error=-100_000).encode(),
                        {wire.CORRUPT_MESSAGE, wire.INVALID_RECORD}),
    "count too high": (GOOD.but(count=3).encode(), {wire.INVALID_RECORD}),
    "count huge": (GOOD.but(count=0x7FFF_FFFF).encode(), {wire.INVALID_RECORD}),
    "count and delta differ": (GOOD.but(last_offset_delta=9).encode(), {wire.INVALID_RECORD}),
    "control batch": (GOOD.but(attributes=wire.CONTROL).encode(), {wire.INVALID_RECORD}),
    "sequence negative": (GOOD.but(producer_id=7, producer_epoch=0).encode(),
                          {wire.INVALID_RECORD}),
    "zstd too early": (GOOD.but(attributes=wire.ZSTD).encode(),
                       {wire.UNSUPPORTED_COMPRESSION_TYPE}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_batch_is_refused_and_not_stored(broker, ground, topic, bystander, what):
    records, errors = REFUSED[what]
    with Connection(broker.endpoint) as bad:
        try:
            error, _ = bad.produce(topic, records)
            assert error in errors
        except Closed:
            pass
    with Connection(broker.endpoint) as good:
        assert good.produce(topic, GOOD.encode()) == (wire.NONE, 0), "something had been stored"


def test_null_records_are_refused(spate, ground, topic):
    """Kafka never answers these; we do."""
    broker = spate().start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as bad:
        assert bad.produce(topic, None)[0] == wire.INVALID_RECORD


def test_odd_acks_are_refused(broker, ground, topic, bystander):
    with Connection(broker.endpoint) as odd:
        assert odd.produce(topic, GOOD.encode(), acks=5)[0] == wire.INVALID_REQUIRED_ACKS


def test_a_missing_partition_is_unknown(broker, ground, topic, bystander):
    with Connection(broker.endpoint) as odd:
        error, _ = odd.produce(topic, GOOD.encode(), partition=77)
        assert error == wire.UNKNOWN_TOPIC_OR_PARTITION
        (error, _, _), = odd.fetch(topic, partitions=(77,))
        assert error == wire.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("size", [0x7FFF_FFFF, 0x4000_0000, -1, -0x8000_0000, 0, 3])
def test_a_frame_of_impossible_size_closes_the_connection(broker, ground, bystander, size):
    with Connection(broker.endpoint) as odd:
        odd.socket.sendall(struct.pack(">i", size) + b"\0" * max(0, min(size, 100)))
        assert odd.is_closed_by_peer()


def test_array_lengths_that_lie_cost_no_memory(broker, ground, topic, bystander):
    huge = struct.pack(">i", 0x7FFF_FFFF)
    lies = [
        (wire.METADATA, 1, huge),
        (wire.LIST_OFFSETS, 1, struct.pack(">i", -1) + huge),
        (wire.FETCH, 4, struct.pack(">iiiib", -1, 0, 1, 1, 0) + huge),
        (wire.PRODUCE, 3, wire.string(None) + struct.pack(">hi", -1, 1000) + huge),
        (wire.PRODUCE, 3, wire.string(None) + struct.pack(">hi", -1, 1000)
         + wire.array([wire.string(topic) + huge])),
        (wire.METADATA, 9, b"\0" + b"\xff\xff\xff\xff\x07"),
    ]
    for key, version, body in lies:
        with Connection(broker.endpoint) as liar:
            liar.send(key, version, body)
            assert liar.is_closed_by_peer(), (key, version)


def test_bytes_after_the_request_do_no_harm(broker, ground, bystander):
    with Connection(broker.endpoint) as odd:
        odd.send(wire.METADATA, 1, wire.array([]) + b"surplus")
        try:
            odd.receive()
        except Closed:
            pass


def test_noise_is_survived(broker, ground, bystander):
    chance = random.Random(3)
    for round_ in range(300):
        with Connection(broker.endpoint) as noisy:
            noise = chance.randbytes(chance.randint(1, 4_000))
            if round_ % 2:
                key, version = chance.choice([0, 1, 2, 3, 18, 19, 22]), chance.randint(0, 14)
                head = struct.pack(">hh", key, version)
                noise = struct.pack(">i", len(noise) + 4) + head + noise
            noisy.socket.sendall(noise)


def test_frames_cut_short_are_forgotten(broker, ground, topic, bystander):
    whole = wire.frame(wire.PRODUCE, 3, wire.produce_body(topic, GOOD.encode()))
    for cut in range(1, len(whole)):
        with Connection(broker.endpoint) as short:
            short.socket.sendall(whole[:cut])
    with Connection(broker.endpoint) as good:
        assert good.produce(topic, GOOD.encode()) == (wire.NONE, 0)


def test_a_client_that_stops_reading_holds_up_only_itself(broker, ground, topic, bystander):
    big = Batch(values=(b"x" * 900_000,)).encode()
    deaf = [Connection(broker.endpoint, timeout_s=2) for _ in range(20)]
    deaf[0].produce(topic, big)
    request = wire.frame(wire.FETCH, 4, wire.fetch_body(topic))
    for connection in deaf:
        try:
            for _ in range(500):
                connection.socket.sendall(request)
        except TimeoutError:
            pass  # the broker has stopped taking requests: back-pressure
        except ConnectionError:
            pass
        assert_served(bystander)
    for connection in deaf:
        connection.socket.close()


def test_slow_senders_hold_up_only_themselves(broker, ground, topic, bystander):
    whole = wire.frame(wire.PRODUCE, 3, wire.produce_body(topic, GOOD.encode()))
    slow = [Connection(broker.endpoint) for _ in range(20)]
    # Each announces a large frame, so that each takes memory of its own, and then trickles.
    announced = struct.pack(">i", 8 << 20)
    for connection in slow:
        connection.socket.sendall(announced)
    with Connection(broker.endpoint) as slowest:
        for byte in whole[:8]:
            slowest.socket.sendall(bytes([byte]))
            for connection in slow:
                send_quietly(connection.socket, b"\0")
            started = time.monotonic()
            assert_served(bystander)
            assert time.monotonic() - started < 0.5
            time.sleep(1)
        slowest.socket.sendall(whole[8:])
        assert wire.read_produced(slowest.receive()[1]) == (wire.NONE, 0)
    for connection in slow:
        connection.socket.close()


def send_quietly(sender: socket.socket, data: bytes) -> None:
    try:
        sender.sendall(data)
    except ConnectionError:
        pass


def test_a_thousand_idle_connections_are_no_burden(broker, ground, bystander):
    idle = [Connection(broker.endpoint) for _ in range(1_000)]
    assert_served(bystander)
    assert idle[-1].api_versions()
    for connection in idle:
        connection.socket.close()


def test_warnings_name_the_peer_and_do_not_flood_the_log(spate, ground):
    broker = spate().start()
    for _ in range(1_000):
        with Connection(broker.endpoint) as bad:
            bad.socket.sendall(struct.pack(">i", -77))
    with Connection(broker.endpoint) as good:
        assert good.api_versions()
    warnings = broker.complaints()
    assert 1 <= len(warnings) <= 100
    assert "127.0.0.1:" in warnings[0] and "-77" in warnings[0], warnings[0]
