"""Settings that change while the broker runs: by Kafka's Java tools, the librdkafka and the Python
admin clients and our command line; they take effect at once and outlive a kill -9."""

import json

import confluent_kafka
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from kafka.admin import ConfigResource as PythonResource
from kafka.admin import ConfigResourceType as PythonType
from kafka.admin import KafkaAdminClient

from lab import clients, wire
from lab.clients import Failed, java_tool
from lab.wire import Batch, Connection

# What `kafka-configs.sh --describe --all` of Kafka 4.3 names for a topic.
KAFKAS_TOPIC_KEYS = """
cleanup.policy compression.gzip.level compression.lz4.level compression.type
compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages flush.ms
follower.replication.throttled.replicas index.interval.bytes
leader.replication.throttled.replicas local.retention.bytes local.retention.ms
max.compaction.lag.ms max.message.bytes message.timestamp.after.max.ms
message.timestamp.before.max.ms message.timestamp.type min.cleanable.dirty.ratio
min.compaction.lag.ms min.insync.replicas preallocate remote.log.copy.disable
remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms segment.bytes
segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable
""".split()

MESSAGE_TOO_LARGE = 10


def configs(broker, *arguments: str) -> str:
    return java_tool("configs", "--bootstrap-server", broker.address, *arguments)


def settings_of(broker, kind, name) -> dict:
    admin = AdminClient({"bootstrap.servers": broker.address})
    resource = ConfigResource(kind, name)
    return admin.describe_configs([resource])[resource].result(30)


def alter(broker, kind, name, *steps) -> None:
    admin = AdminClient({"bootstrap.servers": broker.address})
    entries = [ConfigEntry(key, value, incremental_operation=operation)
               for key, value, operation in steps]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(30)


def test_a_topic_has_all_of_kafkas_keys(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    rows = settings_of(broker, ResourceType.TOPIC, topic)
    missing = set(KAFKAS_TOPIC_KEYS) - set(rows)
    own = set(rows) - set(KAFKAS_TOPIC_KEYS)
    assert not missing and own <= {"durability"}, (missing, own)


def test_java_tools_change_a_topic(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    of_topic = ("--entity-type", "topics", "--entity-name", topic)
    configs(broker, "--alter", *of_topic, "--add-config",
            "retention.ms=5000,cleanup.policy=[compact,delete]")
    shown = configs(broker, "--describe", *of_topic)
    assert "retention.ms=5000 " in shown and "DYNAMIC_TOPIC_CONFIG" in shown
    assert "cleanup.policy=compact,delete " in shown
    with pytest.raises(Failed, match="Value must be at least -1"):
        configs(broker, "--alter", *of_topic, "--add-config", "retention.ms=-5")
    configs(broker, "--alter", *of_topic, "--delete-config", "retention.ms,cleanup.policy")
    assert settings_of(broker, ResourceType.TOPIC, topic)["retention.ms"].value == "604800000"


def test_lists_grow_and_shrink_by_items(broker, ground, topic):
    clients.create_topic(broker.address, topic)

    def policy(operation, items):
        alter(broker, ResourceType.TOPIC, topic, ("cleanup.policy", items, operation))
        return settings_of(broker, ResourceType.TOPIC, topic)["cleanup.policy"].value

    assert policy(AlterConfigOpType.APPEND, "compact") == "delete,compact"
    assert policy(AlterConfigOpType.SUBTRACT, "delete") == "compact"
    with pytest.raises(confluent_kafka.KafkaException, match="not LIST"):
        alter(broker, ResourceType.TOPIC, topic, ("retention.ms", "5", AlterConfigOpType.APPEND))


def test_the_older_request_replaces_all_settings(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    admin = AdminClient({"bootstrap.servers": broker.address})
    for given in ({"segment.ms": "70000"}, {"flush.ms": "7"}):
        resource = ConfigResource(ResourceType.TOPIC, topic, set_config=given)
        admin.alter_configs([resource])[resource].result(30)
    rows = settings_of(broker, ResourceType.TOPIC, topic)
    assert (rows["flush.ms"].value, rows["segment.ms"].value) == ("7", "604800000")


def test_the_python_client_changes_settings(broker, ground, topic):
    clients.create_topic(broker.address, topic)
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.alter_configs([PythonResource(PythonType.TOPIC, topic, configs={"flush.ms": "7"})])
    admin.close()
    assert settings_of(broker, ResourceType.TOPIC, topic)["flush.ms"].value == "7"


def test_a_smaller_limit_holds_at_once_and_after_a_kill(spate, ground, topic):
    broker = spate(shards=2).start()
    clients.create_topic(broker.address, topic, partitions=4)
    large = Batch(values=(b"x" * 5_000,)).encode()

    def produce_to_all() -> set:
        with Connection(broker.endpoint) as connection:
            return {connection.produce(topic, large, partition=index)[0] for index in range(4)}

    assert produce_to_all() == {wire.NONE}
    limit = ("max.message.bytes", "4321", AlterConfigOpType.SET)
    alter(broker, ResourceType.TOPIC, topic, limit)
    assert produce_to_all() == {MESSAGE_TOO_LARGE}
    broker.restart()
    assert produce_to_all() == {MESSAGE_TOO_LARGE}
    alter(broker, ResourceType.TOPIC, topic, ("max.message.bytes", None, AlterConfigOpType.DELETE))
    assert produce_to_all() == {wire.NONE}


def test_defaults_of_all_brokers_reach_topics_at_once_and_outlive_a_kill(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic)
    large = Batch(values=(b"x" * 5_000,)).encode()
    assert broker.cli("config", "broker", "set", "message.max.bytes=4321").returncode == 0
    for _ in range(2):
        with Connection(broker.endpoint) as connection:
            assert connection.produce(topic, large)[0] == MESSAGE_TOO_LARGE
        row = settings_of(broker, ResourceType.TOPIC, topic)["max.message.bytes"]
        dynamic_default_broker = 3
        assert (row.value, row.source) == ("4321", dynamic_default_broker)
        broker.restart()
    with pytest.raises(confluent_kafka.KafkaException, match="dynamically"):
        alter(broker, ResourceType.BROKER, "1", ("num.partitions", "7", AlterConfigOpType.SET))


@pytest.mark.warns(r"max\.connections")
def test_max_connections_changes_while_the_broker_runs(spate, ground):
    broker = spate().start()
    alter(broker, ResourceType.BROKER, "1", ("max.connections", "1", AlterConfigOpType.SET))
    held, refused = [], 0
    for _ in range(8):
        connection = Connection(broker.endpoint)
        try:
            connection.api_versions()
            held.append(connection)
        except (OSError, wire.Closed):
            refused += 1
    assert refused > 0


def test_our_command_line_changes_settings(spate, ground, topic):
    broker = spate().start()
    clients.create_topic(broker.address, topic)

    def cli(*arguments: str) -> str:
        done = broker.cli(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    cli("config", "topic", "set", topic, "retention.ms=777", "cleanup.policy=compact")
    rows = json.loads(cli("config", "topic", "get", topic, "--json"))
    assert {row["key"]: row["value"] for row in rows} == {
        "retention.ms": "777", "cleanup.policy": "compact"}
    assert "max.message.bytes" in cli("config", "topic", "get", topic, "--all")
    cli("topic", "alter", topic, "--unset", "retention.ms", "--unset", "cleanup.policy")
    assert json.loads(cli("config", "topic", "get", topic, "--json")) == []
    cli("config", "broker", "set", "log.roll.ms=70000")
    assert "all brokers" in cli("config", "broker", "get", "--node", "1", "log.roll.ms")
    cli("config", "broker", "unset", "log.roll.ms")
    cli("topic", "add-partitions", topic, "3")
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, Batch().encode()) == (wire.NONE, 0)
    begins = json.loads(cli("topic", "delete-records", topic, "--before", "end", "--json"))
    assert [row["log_start"] for row in begins] == [1, 0, 0]
    refused = broker.cli("config", "topic", "set", topic, "retention.ms=soon")
    assert refused.returncode != 0 and b"Not a number of type LONG" in refused.stderr
