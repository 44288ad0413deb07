"""Questions of administrators that are about many nodes, answered honestly by one: Kafka's own
tools must come through them."""

import json

import confluent_kafka
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from lab import clients
from lab.clients import java_tool


def tool(name: str, broker, *arguments: str) -> str:
    return java_tool(name, "--bootstrap-server", broker.address, *arguments)


def test_features_and_quorum(broker, ground):
    features = tool("features", broker, "describe")
    assert "metadata.version" in features and "group.version" in features
    status = tool("metadata-quorum", broker, "describe", "--status")
    assert "LeaderId:" in status and "CurrentVoters:" in status


def test_every_partition_has_its_leader_already(broker, ground, topic):
    clients.create_topic(broker.address, topic, partitions=2)
    said = tool("leader-election", broker, "--election-type", "preferred", "--topic", topic,
                "--partition", "1")
    assert f"already elected for partitions {topic}-1" in said


def test_a_partition_moves_to_where_it_is(broker, ground, topic, tmp_path):
    clients.create_topic(broker.address, topic, partitions=2)
    plan = tmp_path / "plan.json"
    moves = [{"topic": topic, "partition": index, "replicas": [1]} for index in range(2)]
    plan.write_text(json.dumps({"version": 1, "partitions": moves}))
    arguments = ("--reassignment-json-file", str(plan))
    assert "Successfully started" in tool("reassign-partitions", broker, "--execute", *arguments)
    assert "is completed" in tool("reassign-partitions", broker, "--verify", *arguments)


def test_producers_of_a_partition_are_told(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.address, "enable.idempotence": True})
    for _ in range(3):
        producer.produce(topic, b"value", partition=0)
    assert producer.flush(30) == 0
    rows = tool("transactions", broker, "describe-producers", "--topic", topic, "--partition",
                "0").splitlines()
    assert len(rows) == 2, rows
    columns = rows[1].split()
    epoch, last_sequence = columns[1], columns[3]
    assert (epoch, last_sequence) == ("0", "2"), rows


def test_there_are_no_rules_without_an_authorizer(broker, ground):
    admin = AdminClient({"bootstrap.servers": broker.address})
    rule = AclBinding(ResourceType.TOPIC, "any", ResourcePatternType.LITERAL, "User:a", "*",
                      AclOperation.READ, AclPermissionType.ALLOW)
    with pytest.raises(confluent_kafka.KafkaException, match="No Authorizer"):
        admin.create_acls([rule])[rule].result(30)


def test_subscriptions_to_clients_metrics_are_kept(broker, ground, topic):
    tool("client-metrics", broker, "--alter", "--name", topic, "--metrics", "org.apache.kafka.",
         "--interval", "5000")
    assert "interval.ms=5000" in tool("client-metrics", broker, "--describe", "--name", topic)
    tool("client-metrics", broker, "--delete", "--name", topic)
