"""Topics made, grown and deleted."""

from conformance.subject import Subject
from conformance.world import DATA, ZERO_ID


def create(*changes, **fields):
    """One new topic for each of `changes`, which are laid over an ordinary one."""
    def body(world, version):
        topics = []
        for change in changes or ({},):
            fresh = world.fresh("made")
            topics.append({"Name": fresh, "NumPartitions": 2, "ReplicationFactor": 1} | change)
        return {"Topics": topics, "timeoutMs": 5_000} | fields
    return body


def assigned(*brokers, partitions=-1, factor=-1):
    return {"NumPartitions": partitions, "ReplicationFactor": factor, "Assignments": [
        {"PartitionIndex": index, "BrokerIds": list(ids)} for index, ids in enumerate(brokers)]}


def config(name, value):
    return {"Configs": [{"Name": name, "Value": value}]}


def create_right(world, version):
    return create(config("retention.ms", "60000"))(world, version)


def create_and_look(world, version):
    body = create(config("retention.ms", "60000"), assigned([1], [1]))(world, version)
    world.call("CreateTopics", version, body)
    names = [topic["Name"] for topic in body["Topics"]]
    for name in names:
        world.make_sure(name)
    world.call("Metadata", 8, {"Topics": [{"Name": name} for name in names]})


CREATE = {
    "defaults": create({"NumPartitions": -1, "ReplicationFactor": -1}),
    "exists": create({"Name": DATA}),
    "factor-3": create({"ReplicationFactor": 3}),
    "two-of-one-name": create({"Name": "conf-twice"}, {"Name": "conf-twice"}),
    "one-good-one-bad": create({}, {"NumPartitions": 0}),
    "dots": create({"Name": ".."}), "one-dot": create({"Name": "."}),
    "249-letters": create({"Name": "y" * 249}, validateOnly=True),
    "250-letters": create({"Name": "y" * 250}, validateOnly=True),
    "collides": create({"Name": "conf_data"}, validateOnly=True),
    "internal-name": create({"Name": "__consumer_offsets"}, validateOnly=True),
    "assigned": create(assigned([1], [1])),
    "assigned-and-partitions": create(assigned([1], partitions=1)),
    "assigned-and-factor": create(assigned([1], factor=1)),
    "assigned-unknown-broker": create(assigned([9])),
    "assigned-twice-to-one": create(assigned([1, 1])),
    "assigned-to-none": create(assigned([])),
    "assigned-unevenly": create(assigned([1], [])),
    "assigned-with-gap": create({"NumPartitions": -1, "ReplicationFactor": -1, "Assignments": [
        {"PartitionIndex": 1, "BrokerIds": [1]}]}),
    "assigned-negative": create({"NumPartitions": -1, "ReplicationFactor": -1, "Assignments": [
        {"PartitionIndex": -1, "BrokerIds": [1]}]}),
    "assigned-one-index-twice": create({
        "NumPartitions": -1, "ReplicationFactor": -1,
        "Assignments": [{"PartitionIndex": 0, "BrokerIds": [1]}] * 2}),
    "config-unknown": create(config("no.such", "1")),
    "config-no-number": create(config("retention.ms", "soon")),
    "config-out-of-range": create(config("min.insync.replicas", "0")),
    "config-null": create(config("retention.ms", None)),
    "config-empty": create(config("cleanup.policy", "")),
    "config-not-in-list": create(config("compression.type", "brotli")),
    "config-both-policies": create(config("cleanup.policy", "compact,delete")),
    "config-twice": create({"Configs": [{"Name": "retention.ms", "Value": "1"},
                                        {"Name": "retention.ms", "Value": "2"}]}),
    "config-with-spaces": create(config("retention.ms", " 60000 ")),
    "validate-only": create(validateOnly=True),
    "then-look": create_and_look,
}


def delete(world, version):
    name = world.make_topic(world.fresh("gone"))
    return delete_named(name)(world, version)


def delete_named(*names):
    def body(world, version):
        if version < 6:
            return {"TopicNames": list(names), "TimeoutMs": 5_000}
        return {"Topics": [{"Name": name} for name in names], "TimeoutMs": 5_000}
    return body


def delete_twice(world, version):
    body = delete(world, version)
    world.call("DeleteTopics", version, body)
    world.call("DeleteTopics", version, body)


def delete_by_id(world, version):
    name = world.make_topic(world.fresh("gone"))
    return {"Topics": [{"Name": None, "TopicId": world.topic(name)}], "TimeoutMs": 5_000}


def delete_by_id_and_name(world, version):
    body = delete_by_id(world, version)
    name = f"gone-{world.case}-1"
    return body | {"Topics": [body["Topics"][0] | {"Name": name}]}


def grow(count=4, name=None, **fields):
    def body(world, version):
        topic = name or world.make_topic(world.fresh("grows"), 2)
        return {"TimeoutMs": 5_000, "Topics": [
            {"Name": topic, "Count": count, "Assignments": None} | fields]}
    return body


def grow_two_of_one_name(world, version):
    body = grow()(world, version)
    return body | {"Topics": body["Topics"] * 2}


SUBJECTS = [
    Subject("CreateTopics", create_right, CREATE,
            spared=frozenset({"timeoutMs", "NumPartitions"})),
    Subject("DeleteTopics", delete, {
        "unknown": delete_named("no-such"), "nothing": delete_named(), "twice": delete_twice,
        "one-name-twice": delete_named("no-such", "no-such"), "by-id": delete_by_id,
        "zero-id": lambda world, version: {"Topics": [{"Name": None, "TopicId": ZERO_ID}],
                                           "TimeoutMs": 5_000},
        "id-and-name": delete_by_id_and_name,
        "bad-name": delete_named("bad name!"),
    }, spared=frozenset({"TimeoutMs"}), since={"by-id": 6, "zero-id": 6, "id-and-name": 6}),
    Subject("CreatePartitions", grow(), {
        "same": grow(2), "fewer": grow(1), "zero": grow(0), "unknown": grow(4, "no-such"),
        "assigned": grow(3, Assignments=[{"BrokerIds": [1]}]),
        "assigned-too-few": grow(4, Assignments=[{"BrokerIds": [1]}]),
        "assigned-unknown-broker": grow(3, Assignments=[{"BrokerIds": [9]}]),
        "assigned-to-none": grow(3, Assignments=[{"BrokerIds": []}]),
        "assigned-empty": grow(3, Assignments=[]),
        "assigned-twice-to-one": grow(3, Assignments=[{"BrokerIds": [1, 1]}]),
        "two-of-one-name": grow_two_of_one_name,
        "validate-only": lambda world, version: grow()(world, version) | {"ValidateOnly": True},
    }, spared=frozenset({"TimeoutMs", "Count"})),
]
