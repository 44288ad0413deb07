"""Every limit is a setting, and going past one is an error or back-pressure, never the end."""

import filecmp
import struct

import pytest

from lab import clients, payload, wire
from lab.wire import Batch, Connection


def test_the_memory_plan_is_told_at_the_start(spate, ground):
    assert "memory at most" in spate().start().log_text()


def test_tight_memory_slows_clients_down_and_loses_nothing(spate, ground, topic, tmp_path):
    tight = {f"memory.{kind}.bytes": 4 << 20 for kind in ("receive", "open", "cache", "fetch")}
    broker = spate(settings={"socket.request.max.bytes": 4 << 20, **tight}).start()
    clients.create_topic(broker.address, topic)
    sent, came = tmp_path / "sent", tmp_path / "came"
    count = payload.write_lines(sent, seed=6, total_bytes=16 << 20)
    clients.Confluent().produce(broker.address, topic, sent)
    clients.Confluent().consume(broker.address, topic, count, came)
    assert filecmp.cmp(sent, came, shallow=False)


@pytest.mark.warns("(?i)connection")
def test_connections_past_the_limit_are_closed_at_once(spate, ground, topic):
    broker = spate(shards=1, settings={"max.connections": 20}).start()
    clients.create_topic(broker.address, topic)
    held = [Connection(broker.endpoint) for _ in range(15)]
    extra = [Connection(broker.endpoint, timeout_s=2) for _ in range(20)]
    assert extra[-1].is_closed_by_peer()
    assert all(connection.api_versions() for connection in held)
    for connection in [*held, *extra]:
        connection.socket.close()


@pytest.mark.warns(r"127\.0\.0\.1:\d+")
def test_a_request_past_the_limit_closes_its_connection(spate, ground, topic):
    settings = {"socket.request.max.bytes": 10_000, "message.max.bytes": 9_500}
    broker = spate(settings=settings).start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as large, Connection(broker.endpoint) as small:
        large.socket.sendall(struct.pack(">i", 10_001))
        assert large.is_closed_by_peer()
        fits = Batch(values=(b"x" * 9_000,)).encode()
        assert small.produce(topic, fits) == (wire.NONE, 0)


@pytest.mark.warns(r"127\.0\.0\.1:\d+")
def test_a_request_that_never_arrives_is_given_up(spate, ground, topic):
    broker = spate(settings={"connection.progress.timeout.ms": 1_000}).start()
    with Connection(broker.endpoint) as stalled:
        stalled.socket.sendall(struct.pack(">i", 100) + b"\0" * 10)
        assert stalled.is_closed_by_peer()


def test_batches_up_to_the_limit_pass_and_larger_ones_do_not(broker, ground, topic):
    clients.create_topic(broker.address, topic, max_message_bytes=300_000)
    message_too_large = 10
    with Connection(broker.endpoint) as connection:
        for size, error in [(299_000, wire.NONE), (301_000, message_too_large)]:
            batch = Batch(values=(b"x" * size,)).encode()
            assert connection.produce(topic, batch)[0] == error


def test_statistics_are_told(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        connection.produce(topic, Batch().encode())
    assert "hops" in broker.statistics().lower()
