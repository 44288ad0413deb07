"""What operators see: health over HTTP, and metrics that Prometheus' linter and server take."""

import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import confluent_kafka
import pytest

from lab import clients
from lab.broker import DidNotStart, free_ports

SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')


def observed(spate, **options):
    """A broker with a metrics listener, and where that is."""
    address = f"127.0.0.1:{free_ports()}"
    settings = {"metrics.listen": address} | options.pop("settings", {})
    broker = spate(settings=settings, **options).start()
    broker.http = f"http://{address}"
    return broker


def get(broker, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(broker.http + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(broker) -> dict[tuple[str, str], float]:
    """By name and labels."""
    status, text = get(broker, "/metrics")
    assert status == 200
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            assert (name, labels or "") not in found, f"{line} appears twice"
            found[name, labels or ""] = float(value)
    return found


def produce(broker, topic: str, count: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address})
    for number in range(count):
        producer.produce(topic, b"x" * 100, partition=number % 2)
    assert producer.flush(30) == 0


def test_health_follows_the_brokers_life(spate, ground):
    broker = observed(spate)
    assert get(broker, "/health/live") == (200, "ok\n")
    assert get(broker, "/health/ready") == (200, "ok\n")
    status, said = get(broker, "/elsewhere")
    assert status == 404 and "/metrics" in said
    asked = urllib.request.Request(broker.http + "/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(asked, timeout=10)


def test_metrics_count_what_clients_did(spate, ground, topic):
    broker = observed(spate, shards=2)
    clients.create_topic(broker.address, topic, partitions=2)
    produce(broker, topic, 1_000)
    time.sleep(1.2)  # Shards publish their numbers every second.
    found = samples(broker)
    for partition in (0, 1):
        labels = f'topic="{topic}",partition="{partition}"'
        assert found["kafka_topic_partition_current_offset", labels] == 500
        assert found["kafka_topic_partition_oldest_offset", labels] == 0
        assert found["kafka_log_log_size", labels] > 50_000
    assert found["kafka_topic_partitions", f'topic="{topic}"'] == 2
    assert found["kafka_server_brokertopicmetrics_messagesin_total", ""] == 1_000
    assert found["kafka_server_brokertopicmetrics_bytesin_total", ""] > 100_000
    requests = found["kafka_network_requestmetrics_requests_total", 'request="Produce"']
    assert requests == found["spate_request_seconds_count", 'request="Produce"'] > 0
    assert found["spate_request_seconds_bucket", 'request="Produce",le="+Inf"'] == requests
    assert found["kafka_network_requestmetrics_totaltimems",
                 'request="Produce",quantile="0.99"'] > 0
    assert found["kafka_controller_kafkacontroller_globalpartitioncount", ""] == 2
    assert found["spate_metrics_survey_complete", ""] == 1
    for shard in (0, 1):
        of_shard = f'shard="{shard}"'
        assert found["spate_shard_journal_frames_total", of_shard] > 0
        assert found["spate_shard_busy_seconds_total", of_shard] > 0
        assert 0 <= found["spate_shard_load_ratio", of_shard] <= 1
    assert found["process_resident_memory_bytes", ""] > 1 << 20
    assert found["spate_disk_fenced", ""] == 0 and found["spate_disk_free_bytes", ""] > 0
    # Counters never go back.
    produce(broker, topic, 10)
    later = samples(broker)
    grown = [key for key, value in found.items()
             if key[0].endswith("_total") and later[key] < value]
    assert not grown


def test_groups_lag_is_known(spate, ground, topic):
    broker = observed(spate, shards=2, settings={"group.initial.rebalance.delay.ms": 0})
    clients.create_topic(broker.address, topic, partitions=2)
    produce(broker, topic, 100)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "laggards", "enable.auto.commit": False,
        "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    assert consumer.poll(20) is not None
    consumer.commit(offsets=[confluent_kafka.TopicPartition(topic, 0, 7)], asynchronous=False)
    found = samples(broker)
    labels = f'consumergroup="laggards",topic="{topic}",partition="0"'
    assert found["kafka_consumergroup_current_offset", labels] == 7
    assert found["kafka_consumergroup_lag", labels] == 43
    assert found["kafka_consumergroup_members", 'consumergroup="laggards"'] == 1
    assert found["spate_consumergroups", 'state="Stable"'] == 1
    consumer.close()


def test_series_are_bounded(spate, ground, topic):
    broker = observed(spate, settings={"metrics.partitions.max": 10})
    clients.create_topic(broker.address, topic + "-a", partitions=3)
    clients.create_topic(broker.address, topic + "-b", partitions=200)
    found = samples(broker)
    shown = {labels for name, labels in found if name == "kafka_topic_partition_current_offset"}
    assert len(shown) == 3 and all(f'"{topic}-a"' in labels for labels in shown)
    assert found["spate_metrics_partitions_hidden", ""] == 200
    assert found["kafka_controller_kafkacontroller_globalpartitioncount", ""] == 203


def test_promtool_finds_nothing(spate, ground, topic):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    broker = observed(spate, shards=2)
    clients.create_topic(broker.address, topic, partitions=2)
    produce(broker, topic, 100)
    text = get(broker, "/metrics")[1]
    done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), timeout=30,
                          capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_a_taken_port_is_said(spate, ground):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        broker = spate(settings={"metrics.listen": address})
        with pytest.raises(DidNotStart, match=r"metrics\.listen"):
            broker.start()
    broker.log.unlink()


def test_too_many_connections_hurt_nobody(spate, ground):
    """Those past the limit are closed at once; when the others go, it answers again."""
    broker = observed(spate)
    endpoint = ("127.0.0.1", int(broker.http.rsplit(":", 1)[1]))
    idle = [socket.create_connection(endpoint, 5) for _ in range(64)]
    with broker_connection(broker) as connection:
        assert connection.api_versions()
    refused = [one for one in idle[32:] if one.recv(1) == b""]
    assert len(refused) == 32
    for one in idle:
        one.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert get(broker, "/health/live")[0] == 200
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("it does not answer any more")


def broker_connection(broker):
    return clients.wire.Connection(broker.endpoint)
