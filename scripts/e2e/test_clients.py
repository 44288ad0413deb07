"""Records go through unmodified clients byte by byte and in order, whoever reads them."""

import filecmp
import re

import pytest

from lab import clients, payload

MATRIX_BYTES = 1 << 20
PRODUCERS = ["kcat", "kafka-python", "confluent-kafka", "java", "spate"]

# Each client produces once and consumes once, each codec comes once.
RING = [
    ("kcat", "none", "java"),
    ("kafka-python", "gzip", "kcat"),
    ("confluent-kafka", "snappy", "kafka-python"),
    ("java", "lz4", "confluent-kafka"),
    ("java", "zstd", "kcat"),
]


@pytest.mark.parametrize("codec", clients.CODECS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_what_one_client_writes_every_client_reads(
        broker, ground, topic, tmp_path, all_clients, producer, codec):
    if producer not in all_clients:
        pytest.skip("the binary is not built")
    sent = tmp_path / "sent"
    count = payload.write_lines(sent, seed=1, total_bytes=MATRIX_BYTES)
    clients.create_topic(broker.address, topic)
    all_clients[producer].produce(broker.address, topic, sent, codec)
    for client in all_clients.values():
        came = tmp_path / client.name
        client.consume(broker.address, topic, count, came)
        assert filecmp.cmp(sent, came, shallow=False), f"{client.name} read something else"


@pytest.mark.everywhere
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("producer", "codec", "consumer"), RING)
def test_a_volume_goes_through_identical_and_in_order(
        broker, ground, topic, tmp_path, all_clients, volume, producer, codec, consumer):
    sent, came = tmp_path / "sent", tmp_path / "came"
    count = payload.write_lines(sent, seed=2, total_bytes=volume)
    clients.create_topic(broker.address, topic)
    all_clients[producer].produce(broker.address, topic, sent, codec)
    all_clients[consumer].consume(broker.address, topic, count, came)
    assert filecmp.cmp(sent, came, shallow=False)
    sent.unlink()
    came.unlink()


@pytest.mark.everywhere
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("codec", clients.CODECS)
def test_rdkafka_performance_loads_what_others_read(
        broker, ground, topic, tmp_path, all_clients, volume, codec):
    size = 1024
    count = max(volume // size // len(clients.CODECS), 1000)
    clients.create_topic(broker.address, topic)
    load = [clients.RDKAFKA_PERFORMANCE, "-q", "-b", broker.address, "-t", topic, "-p", "0"]
    # -S numbers the records, -D copies each: without it a number is overwritten in the queue.
    clients.run([*load, "-P", "-D", "-S", "0", "-m", "spate", "-s", str(size), "-c", str(count),
                 "-z", codec, "-X", "enable.idempotence=true"])
    came = tmp_path / "came"
    all_clients["confluent-kafka"].consume(broker.address, topic, count, came)
    filler = (b"spate" * size)[:size]
    with open(came, "rb") as lines:
        for number, line in enumerate(lines):
            head = b"%d: \0" % number
            assert line == head + filler[len(head):] + b"\n"
    said = clients.run([*load, "-C", "-o", "beginning", "-c", str(count)]).decode()
    assert re.search(rf"\b{count} messages \({count * size} bytes\)", said), said


def test_the_java_load_tool_is_acknowledged_in_full(broker, ground, topic):
    clients.create_topic(broker.address, topic, partitions=3)
    count = 50_000
    said = clients.java_tool(
        "producer-perf-test", "--topic", topic, "--num-records", str(count), "--record-size",
        "200", "--throughput", "-1", "--command-property",
        f"bootstrap.servers={broker.address}")
    assert f"{count} records sent" in said
    ends = clients.java_tool("get-offsets", "--bootstrap-server", broker.address, "--topic", topic)
    assert sum(int(line.rsplit(":", 1)[1]) for line in ends.split()) == count
