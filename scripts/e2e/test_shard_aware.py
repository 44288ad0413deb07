"""A port for each shard: clients that connect there see every shard as a broker of its own and talk
to the owning core only, without knowing anything of Spate."""

import json
import subprocess
import time

import confluent_kafka.admin
import pytest

from lab import clients, payload
from lab.broker import free_ports
from lab.clients import java_tool

SHARDS = 2
PARTITIONS = 5


def hops(broker) -> int:
    """So far; shards publish their numbers every second."""
    time.sleep(1.2)
    done = subprocess.run([broker.binary, "stats", "--data", broker.data, "--json"],
                          capture_output=True, timeout=30, check=True)
    return sum(shard["hops"] for shard in json.loads(done.stdout)["statistics"]["shards"])


@pytest.fixture
def aware(spate):
    """A broker whose shards have ports of their own, and the first of them."""
    first = free_ports(SHARDS)
    settings = {"shard.listeners": f"127.0.0.1:{first}",
                "group.initial.rebalance.delay.ms": 0}
    broker = spate(shards=SHARDS, settings=settings).start()
    broker.own = f"127.0.0.1:{first}"
    return broker


def create(address: str, topic: str, partitions: int) -> None:
    """Without looking whether it answers, which would count as hops."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": address})
    admin.create_topics([confluent_kafka.admin.NewTopic(topic, partitions, 1)])[topic].result(30)


def known_brokers(address: str) -> dict[int, int]:
    """Ids and ports as librdkafka's Metadata has them."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": address})
    return {one.id: one.port for one in admin.list_topics(timeout=10).brokers.values()}


def test_each_listener_shows_its_own_brokers(aware, ground):
    first = int(aware.own.rsplit(":", 1)[1])
    assert known_brokers(aware.address) == {1: aware.endpoint[1]}
    shards = {1000: first, 1001: first + 1}
    assert known_brokers(aware.own) == shards
    assert known_brokers(f"127.0.0.1:{first + 1}") == shards


@pytest.mark.parametrize("client", ["confluent-kafka", "kafka-python", "java"])
def test_no_request_hops(aware, ground, topic, tmp_path, all_clients, client):
    names = [f"{topic}-{n}" for n in range(2 if client == "java" else 4)]
    for name in names:
        create(aware.own, name, partitions=1)
    sent, came = tmp_path / "sent", tmp_path / "came"
    count = payload.write_lines(sent, seed=4, total_bytes=64 << 10)
    for name in names:
        all_clients[client].produce(aware.own, name, sent)
        all_clients[client].consume(aware.own, name, count, came)
        assert came.read_bytes() == sent.read_bytes()
    assert hops(aware) == 0


def test_one_consumer_of_all_shards_hops_never(aware, ground, topic):
    create(aware.address, topic, PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": aware.own})
    for number in range(1_000):
        producer.produce(topic, str(number), partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": aware.own, "group.id": "nobody",
                                         "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    came = []
    while len(came) < 1_000:
        messages = consumer.consume(1_000, timeout=20)
        assert messages, f"{len(came)} records, then none"
        came += [int(message.value()) for message in messages]
    consumer.close()
    assert sorted(came) == list(range(1_000))
    assert hops(aware) == 0


def test_groups_are_coordinated_without_hops(aware, ground, topic):
    create(aware.address, topic, PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": aware.own})
    for number in range(100):
        producer.produce(topic, str(number), partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    names = [f"{topic}-group-{n}" for n in range(4)]
    for name in names:
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": aware.own, "group.id": name, "enable.auto.commit": False,
            "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        came = 0
        while came < 100:
            messages = consumer.consume(100, timeout=20)
            assert messages, f"{name}: {came} records, then none"
            came += len(messages)
        consumer.commit(asynchronous=False)
        consumer.close()
    assert hops(aware) == 0
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": aware.own})
    listed = [group.group_id for group in admin.list_consumer_groups().result(20).valid]
    assert sorted(listed) == names


def test_through_the_nodes_listener_requests_hop(aware, ground, topic):
    """What the tests above would see if a client went to the wrong core."""
    create(aware.address, topic, PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": aware.address})
    for number in range(100):
        producer.produce(topic, b"x", partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    assert hops(aware) > 0


def test_admin_tools_work_through_a_shards_port(aware, ground, topic):
    at = ["--bootstrap-server", aware.own]
    java_tool("topics", *at, "--create", "--topic", topic, "--replica-assignment", "1001,1000")
    described = java_tool("topics", *at, "--describe", "--topic", topic)
    assert "PartitionCount: 2" in described and "ReplicationFactor: 1" in described
    assert "Leader: 1000" in described and "Leader: 1001" in described
    said = java_tool("configs", *at, "--describe", "--all", "--entity-type", "brokers",
                     "--entity-name", "1001")
    assert "num.partitions=" in said
    dirs = java_tool("org.apache.kafka.tools.LogDirsCommand", *at, "--describe", "--topic-list",
                     topic)
    told = json.loads(dirs[dirs.index('{"'):])["brokers"]
    assert {one["broker"]: [part["partition"] for part in one["logDirs"][0]["partitions"]]
            for one in told} in ({1000: [f"{topic}-0"], 1001: [f"{topic}-1"]},
                                 {1000: [f"{topic}-1"], 1001: [f"{topic}-0"]})
    said = java_tool("broker-api-versions", *at)
    assert "id: 1000" in said and "id: 1001" in said
    java_tool("topics", *at, "--delete", "--topic", topic)
    with pytest.raises(clients.Failed, match="eplication"):
        java_tool("topics", *at, "--create", "--topic", topic, "--replication-factor", "2")
