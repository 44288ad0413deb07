"""What administrators ask of a broker: replicas, leaders, directories, quorum, features."""

from conformance.subject import Subject
from conformance.world import DATA, EMPTY, TOPICS


def elect(*indexes, topic=DATA, kind=0):
    return lambda world, version: {"ElectionType": kind, "TimeoutMs": 2_000, "TopicPartitions": [
        {"Topic": topic, "Partitions": list(indexes)}]}


def reassign(replicas, index=0, topic=DATA, **fields):
    return lambda world, version: {"TimeoutMs": 2_000, "Topics": [{"Name": topic, "Partitions": [
        {"PartitionIndex": index, "Replicas": replicas}]}]} | fields


def describe_partitions(*names, limit=2_000, cursor=None):
    return lambda world, version: {"Topics": [{"Name": name} for name in names],
                                   "ResponsePartitionLimit": limit, "Cursor": cursor}


def quorum(topic="__cluster_metadata", index=0):
    return lambda world, version: {"Topics": [{"TopicName": topic, "Partitions": [
        {"PartitionIndex": index}]}]}


def feature(name, level, kind=1, **fields):
    return lambda world, version: {"timeoutMs": 2_000, "FeatureUpdates": [
        {"Feature": name, "MaxVersionLevel": level} |
        ({"UpgradeType": kind} if version > 0 else {})]} | fields


def log_dirs(*topics):
    return lambda world, version: {"Topics": [
        {"Topic": topic, "Partitions": list(indexes)} for topic, indexes in topics]}


def only_fixed_topics(world, answer):
    for result in answer.get("Results") or ():
        result["Topics"] = [one for one in result["Topics"] if one["Name"] in TOPICS]


def without_ends(world, answer):
    """How long the log of metadata is depends on what was done before."""
    for topic in answer.get("Topics") or ():
        for partition in topic["Partitions"]:
            partition["HighWatermark"] = min(partition["HighWatermark"], 0)
            for replica in partition["CurrentVoters"] + partition["Observers"]:
                replica["LogEndOffset"] = min(replica["LogEndOffset"], 0)


ANY_ACL = {"ResourceTypeFilter": 1, "ResourceNameFilter": None, "PatternTypeFilter": 1,
           "PrincipalFilter": None, "HostFilter": None, "Operation": 1, "PermissionType": 1}

SUBJECTS = [
    Subject("DescribeAcls", lambda world, version: ANY_ACL),
    Subject("DescribeLogDirs", log_dirs((DATA, (0, 1))), {
        "unknown": log_dirs(("no-such", (0,)), (DATA, (99,))), "nothing": log_dirs(),
    }, only=only_fixed_topics),
    Subject("ElectLeaders", elect(0), {
        "unknown-topic": elect(0, topic="no-such"), "unknown-partition": elect(99),
        "unclean": elect(0, kind=1), "kind-9": elect(0, kind=9), "two": elect(0, 1),
    }, spared=frozenset({"TimeoutMs", "TopicPartitions"})),
    Subject("AlterPartitionReassignments", reassign([1]), {
        "unknown-topic": reassign([1], topic="no-such"), "unknown-partition": reassign([1], 99),
        "unknown-broker": reassign([9]), "two-brokers": reassign([1, 9]), "cancel": reassign(None),
        "none": reassign([]), "twice": reassign([1, 1]), "negative": reassign([-1]),
        "fixed-factor": reassign([1, 9], AllowReplicationFactorChange=False),
    }, spared=frozenset({"TimeoutMs"}), since={"fixed-factor": 1}),
    Subject("ListPartitionReassignments", lambda world, version: {
        "TimeoutMs": 2_000, "Topics": [{"Name": DATA, "PartitionIndexes": [0]}]}, {
        "all": lambda world, version: {"TimeoutMs": 2_000, "Topics": None},
    }, spared=frozenset({"TimeoutMs"})),
    Subject("DescribeQuorum", quorum(), {
        "other-topic": quorum(DATA), "other-partition": quorum(index=3)}, only=without_ends),
    Subject("UpdateFeatures", feature("no.such.feature", 1), {
        "nothing": lambda world, version: {"timeoutMs": 2_000, "FeatureUpdates": []},
        "validate-only": feature("metadata.version", 1, ValidateOnly=True),
    }, spared=frozenset({"timeoutMs", "Feature"}), since={"validate-only": 1}),
    Subject("DescribeTopicPartitions", describe_partitions(DATA, EMPTY), {
        "unknown": describe_partitions("no-such", DATA), "bad-name": describe_partitions("a b"),
        "limited": describe_partitions(DATA, EMPTY, limit=2),
        "from-cursor": describe_partitions(
            DATA, EMPTY, cursor={"TopicName": DATA, "PartitionIndex": 1}),
        "cursor-past-topic": describe_partitions(
            DATA, EMPTY, cursor={"TopicName": DATA, "PartitionIndex": 99}),
        "cursor-between": describe_partitions(
            DATA, EMPTY, cursor={"TopicName": "conf-dz", "PartitionIndex": 0}),
        "limit-0": describe_partitions(DATA, limit=0),
    }, spared=frozenset({"Topics"})),
    Subject("UnregisterBroker", lambda world, version: {"BrokerId": 77}, spared=frozenset(
        {"BrokerId"})),
]
