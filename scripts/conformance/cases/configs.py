"""Settings of topics, brokers, groups and client metrics: described, set and unset."""

from conformance.subject import Subject
from conformance.world import DATA, NARROW, TOPICS

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


def describe(kind, name, keys=None, **fields):
    def body(world, version):
        return {"Resources": [{"ResourceType": kind, "ResourceName": name,
                               "ConfigurationKeys": keys}], "IncludeSynonyms": True} | fields
    return body


def alter(*pairs, kind=TOPIC, name=None, **fields):
    """All settings of a topic at once, the old way."""
    def body(world, version):
        resource = name if name is not None else world.make_topic(world.fresh("set"))
        return {"Resources": [{"ResourceType": kind, "ResourceName": resource, "Configs": [
            {"Name": key, "Value": value} for key, value in pairs]}]} | fields
    return body


def change(*steps, kind=TOPIC, name=None, **fields):
    """Single settings; each step is (operation, key, value)."""
    def body(world, version):
        resource = name if name is not None else world.make_topic(world.fresh("set"))
        return {"Resources": [{"ResourceType": kind, "ResourceName": resource, "Configs": [
            {"Name": key, "ConfigOperation": operation, "Value": value}
            for operation, key, value in steps]}]} | fields
    return body


def then_look(make):
    """Asks, then describes what it has become."""
    def ask(world, version):
        body = make(world, version)
        api = "IncrementalAlterConfigs" if "ConfigOperation" in str(body) else "AlterConfigs"
        world.call(api, version, body)
        resource = body["Resources"][0]
        keys = [entry["Name"] for entry in resource["Configs"]] + ["segment.bytes"]
        world.settle()
        world.call("DescribeConfigs", 4, describe(
            resource["ResourceType"], resource["ResourceName"], keys)(world, 4))
    return ask


def two_of_one_resource(world, version):
    body = change((SET, "retention.ms", "1"))(world, version)
    return {"Resources": body["Resources"] * 2}


DESCRIBE = {
    "one-key": describe(TOPIC, DATA, ["retention.ms"]),
    "no-such-key": describe(TOPIC, DATA, ["no.such"]), "no-keys": describe(TOPIC, DATA, []),
    "documented": describe(TOPIC, DATA, ["retention.ms"], IncludeDocumentation=True),
    "set": describe(TOPIC, NARROW, ["max.message.bytes", "retention.ms"]),
    "without-synonyms": describe(TOPIC, NARROW, ["max.message.bytes"], IncludeSynonyms=False),
    "unknown-topic": describe(TOPIC, "no-such"), "bad-name": describe(TOPIC, "bad name!"),
    "broker": describe(BROKER, "1", ["num.partitions", "message.max.bytes", "log.retention.ms"]),
    "all-brokers": describe(BROKER, "", ["num.partitions"]),
    "other-broker": describe(BROKER, "7", ["num.partitions"]),
    "no-broker": describe(BROKER, "one", ["num.partitions"]),
    "group": describe(GROUP, "some-group"), "metrics": describe(CLIENT_METRICS, "some"),
    "loggers-of-other": describe(BROKER_LOGGER, "7"), "kind-0": describe(0, "x"),
    "kind-99": describe(99, "x"),
}
ALTER = {
    "then-look": then_look(alter(("retention.ms", "5"), ("cleanup.policy", "compact"))),
    "unknown-key": alter(("no.such", "1")), "bad-value": alter(("retention.ms", "soon")),
    "null-value": alter(("retention.ms", None)), "unknown-topic": alter(name="no-such"),
    "validate-only": then_look(alter(("retention.ms", "5"), ValidateOnly=True)),
    "key-twice": alter(("retention.ms", "1"), ("retention.ms", "2")),
}
CHANGE = {
    "then-look": then_look(change((SET, "retention.ms", "5"))),
    "set-and-delete": then_look(change((SET, "retention.ms", "5"), (DELETE, "segment.ms", None))),
    "append": then_look(change((APPEND, "cleanup.policy", "compact"))),
    "subtract": then_look(change((SUBTRACT, "cleanup.policy", "delete"))),
    "subtract-absent": then_look(change((SUBTRACT, "cleanup.policy", "compact"))),
    "append-again": then_look(change((APPEND, "cleanup.policy", "delete"))),
    "append-to-number": change((APPEND, "retention.ms", "5")),
    "unknown-operation": change((9, "retention.ms", "5")),
    "key-twice": change((SET, "retention.ms", "5"), (SET, "retention.ms", "6")),
    "unknown-key": change((SET, "no.such", "5")), "bad-value": change((SET, "retention.ms", "x")),
    "null-value": change((SET, "retention.ms", None)), "nothing": change(),
    "unknown-topic": change((SET, "retention.ms", "5"), name="no-such"),
    "validate-only": then_look(change((SET, "retention.ms", "5"), ValidateOnly=True)),
    "two-of-one-resource": two_of_one_resource,
    "delete-unset": then_look(change((DELETE, "retention.ms", None))),
    "other-broker": change((SET, "log.retention.ms", "9"), kind=BROKER, name="7"),
    "read-only-of-broker": change((SET, "node.id", "9"), kind=BROKER, name="1"),
    "unknown-key-of-broker": change((SET, "no.such", "9"), kind=BROKER, name="1"),
    "group": then_look(change((SET, "consumer.session.timeout.ms", "50000"), kind=GROUP,
                              name="conf-group")),
    "group-bad-value": change((SET, "consumer.session.timeout.ms", "1"), kind=GROUP,
                              name="conf-group"),
    "group-without-name": change((SET, "consumer.session.timeout.ms", "50000"), kind=GROUP,
                                 name=""),
    "metrics": then_look(change((SET, "interval.ms", "5000"), kind=CLIENT_METRICS, name="conf")),
    "metrics-bad-value": change((SET, "interval.ms", "1"), kind=CLIENT_METRICS, name="conf"),
    "metrics-bad-match": change((SET, "match", "nonsense"), kind=CLIENT_METRICS, name="conf"),
    "kind-0": change((SET, "retention.ms", "5"), kind=0, name="x"),
}

def only_known(world, answer):
    if isinstance(answer.get("ConfigResources"), list):
        answer["ConfigResources"] = [one for one in answer["ConfigResources"]
                                     if one["ResourceName"] in (*TOPICS, "1", "conf-group")]


# A wrong value of these would change the broker for all cases after it.
SPARED = frozenset({"ResourceType"})

SUBJECTS = [
    Subject("DescribeConfigs", describe(TOPIC, DATA), DESCRIBE),
    Subject("AlterConfigs", alter(("retention.ms", "60000")), ALTER, spared=SPARED,
            # Kafka never answers it.
            omitted=frozenset({"Resources=twice"})),
    Subject("IncrementalAlterConfigs", change((SET, "retention.ms", "60000")), CHANGE,
            spared=SPARED),
    Subject("ListConfigResources", lambda world, version: {"ResourceTypes": [GROUP]}, {
        "kind-99": lambda world, version: {"ResourceTypes": [99]},
        "topics": lambda world, version: {"ResourceTypes": [TOPIC]},
        "brokers": lambda world, version: {"ResourceTypes": [BROKER]},
    }, only=only_known, since={"kind-99": 1, "topics": 1, "brokers": 1}),
]
