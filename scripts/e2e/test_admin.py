"""Topics come and go: by our command line, by Kafka's Java tools, by the librdkafka admin client,
and by themselves when a client writes to them."""

import subprocess

import confluent_kafka
import confluent_kafka.admin
import pytest

from lab import clients, wire
from lab.broker import DidNotStart
from lab.clients import KAFKA, Failed, java_tool
from lab.wire import Batch, Connection


def topics(broker, *arguments: str) -> str:
    return java_tool("topics", "--bootstrap-server", broker.address, *arguments)


def test_java_tools_create_list_describe_extend_delete(broker, ground, topic):
    topics(broker, "--create", "--topic", topic, "--partitions", "3", "--config",
           "retention.ms=123456789")
    assert topic in topics(broker, "--list").split()
    described = topics(broker, "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described and "retention.ms=123456789" in described
    topics(broker, "--alter", "--topic", topic, "--partitions", "5")
    assert "PartitionCount: 5" in topics(broker, "--describe", "--topic", topic)
    topics(broker, "--delete", "--topic", topic)
    assert topic not in topics(broker, "--list").split()


def test_java_tools_see_the_broker(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    said = java_tool("broker-api-versions", "--bootstrap-server", broker.address)
    assert "Produce(0)" in said and "Fetch(1)" in said and "InitProducerId(22)" in said
    said = java_tool("configs", "--bootstrap-server", broker.address, "--describe", "--all",
                     "--topic", topic)
    assert "max.message.bytes=" in said and "DEFAULT" in said
    assert java_tool("cluster", "cluster-id", "--bootstrap-server", broker.address).strip()


@pytest.mark.parametrize(("arguments", "error"), [
    (["--partitions", "0"], "artition"),
    (["--config", "no.such.config=1"], "no.such.config"),
    (["--replication-factor", "3"], "eplication"),
])
def test_java_tools_are_told_what_is_wrong(broker, ground, topic, arguments, error):
    with pytest.raises(Failed, match=error):
        topics(broker, "--create", "--topic", topic, *arguments)
    assert topic not in topics(broker, "--list").split()


def test_a_topic_exists_once(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    with pytest.raises(confluent_kafka.KafkaException, match="TOPIC_ALREADY_EXISTS"):
        clients.create_topic(broker.address, topic)


@pytest.mark.parametrize("name", ["", ".", "..", "has space", "a" * 250, "slash/name"])
def test_bad_names_are_refused(broker, ground, name):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    with pytest.raises((confluent_kafka.KafkaException, ValueError)):
        admin.create_topics([confluent_kafka.admin.NewTopic(name, 1, 1)])[name].result(30)


def test_a_deleted_topic_comes_back_empty(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, Batch().encode()) == (wire.NONE, 0)
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.address})
    admin.delete_topics([topic])[topic].result(30)
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        (error, high_watermark, records), = connection.fetch(topic)
        assert (error, high_watermark, records) == (wire.NONE, 0, b"")
        assert connection.produce(topic, Batch().encode()) == (wire.NONE, 0)


@pytest.mark.parametrize("client", ["kcat", "kafka-python", "confluent-kafka", "java"])
def test_writing_creates_the_topic(broker, ground, topic, all_clients, tmp_path, client):
    sent, came = tmp_path / "sent", tmp_path / "came"
    sent.write_bytes(b"first\nsecond\n")
    all_clients[client].produce(broker.address, topic, sent)
    all_clients["kcat"].consume(broker.address, topic, 2, came)
    assert sorted(came.read_bytes().split()) == [b"first", b"second"]


def test_without_auto_create_a_topic_stays_unknown(spate, ground, topic):
    settings = {"auto.create.topics.enable": "false"}
    broker = spate(settings=settings).start()
    with Connection(broker.endpoint) as connection:
        for _ in range(3):
            assert connection.wait_for_topic(topic) == wire.UNKNOWN_TOPIC_OR_PARTITION
        assert connection.produce(topic, Batch().encode())[0] == wire.UNKNOWN_TOPIC_OR_PARTITION


def test_topics_outlive_a_kill(spate, ground, topic):
    broker = spate().start()
    topics(broker, "--create", "--topic", topic, "--partitions", "6", "--config",
           "max.message.bytes=4321")
    before = topics(broker, "--describe", "--topic", topic)
    broker.restart()
    after = topics(broker, "--describe", "--topic", topic)
    assert "TopicId" in before and "max.message.bytes=4321" in before
    # The leader epoch of each start is new; nothing else may differ.
    assert after.split("\n")[0] == before.split("\n")[0]
    too_large = Batch(values=(b"x" * 5_000,)).encode()
    with Connection(broker.endpoint) as connection:
        message_too_large = 10
        assert connection.produce(topic, too_large)[0] == message_too_large


def test_a_transactional_producer_is_stopped_clearly(spate, ground):
    """Until transactions come: a final error, not a client that retries for ever."""
    broker = spate().start()
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "transactional.id": "some"})
    with pytest.raises(confluent_kafka.KafkaException) as refusal:
        producer.init_transactions(20)
    assert refusal.value.args[0].fatal() or not refusal.value.args[0].retriable()


def test_our_command_line_manages_topics(spate, ground, topic):
    broker = spate().start()
    assert broker.cli("topic", "create", topic, "--partitions", "3").returncode == 0
    assert topic in broker.cli("topic", "list").stdout.decode()
    described = broker.cli("topic", "describe", topic).stdout.decode()
    assert topic in described and "3" in described
    again = broker.cli("topic", "create", topic)
    assert again.returncode != 0 and topic in again.stderr.decode()
    assert broker.cli("topic", "delete", topic).returncode == 0
    assert topic not in broker.cli("topic", "list").stdout.decode()


def test_our_command_line_writes_keys_and_headers(broker, ground, topic, binary):
    clients.create_topic(broker.address, topic)
    at = ["--broker", broker.address]
    command = [binary, "produce", topic, "-K", ":", "-H", "origin=test", "-z", "zstd", *at]
    subprocess.run(command, input=b"k1:v1\nk2:v2\n", check=True, timeout=60)
    shown = clients.run(["kcat", "-C", "-q", "-e", "-b", broker.address, "-t", topic,
                         "-o", "beginning", "-f", "%o %k %s %h\\n"])
    assert shown.decode().splitlines() == ["0 k1 v1 origin=test", "1 k2 v2 origin=test"]
    only_last = clients.run([binary, "consume", topic, "--from", "1", "-e", *at])
    assert only_last.strip().endswith(b"v2")


def test_kcat_keys_and_headers_reach_other_clients(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic, "-K", ":", "-H", "a=1"],
                   input="key:wert\u00e4\n".encode(), check=True, timeout=60)
    said = subprocess.run(
        [KAFKA, "tool", "console-consumer", "--bootstrap-server", broker.address, "--topic",
         topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1",
         "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true"],
        capture_output=True, check=True, timeout=60).stdout.decode()
    assert said == "a:1\tkey\twert\u00e4\n"


def test_settings_are_told_and_misspellings_corrected(spate, ground, binary):
    listed = subprocess.run([binary, "config"], capture_output=True, check=True).stdout.decode()
    for key in ("num.partitions", "auto.create.topics.enable", "message.max.bytes"):
        assert key in listed
    broker = spate(settings={"num.partitons": 3})
    with pytest.raises(DidNotStart, match=r"num\.partitions"):
        broker.start()
    broker.log.unlink()
