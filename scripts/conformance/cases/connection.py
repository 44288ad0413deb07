"""What a client asks first: ApiVersions, Metadata, the cluster, and where coordinators are."""

from conformance.subject import Subject
from conformance.world import DATA, EMPTY, TOPICS, ZERO_ID


def only_our_topics(world, answer) -> None:
    """Other cases leave topics behind, and so do the brokers' own."""
    for field in ("Topics", "topics"):
        if isinstance(answer.get(field), list):
            answer[field] = [topic for topic in answer[field] if topic.get("Name") in TOPICS
                             or topic.get("ErrorCode") or world.case in (topic.get("Name") or "")]


def metadata(world, version):
    return {"Topics": [{"Name": DATA}, {"Name": EMPTY}], "AllowAutoTopicCreation": False,
            "IncludeTopicAuthorizedOperations": True, "IncludeClusterAuthorizedOperations": True}


def metadata_by_id(world, version):
    return {"Topics": [{"Name": None, "TopicId": world.topic(DATA)}],
            "AllowAutoTopicCreation": False}


def metadata_all(world, version):
    return {"Topics": [] if version == 0 else None}


def metadata_auto_create(world, version):
    name = world.fresh("auto")
    ask = {"Topics": [{"Name": name}], "AllowAutoTopicCreation": True}
    world.peer.ask("Metadata", max(version, 4), ask)
    world.make_sure(name)
    world.call("Metadata", version, ask)


def describe_cluster(world, version):
    return {"IncludeClusterAuthorizedOperations": True}


def coordinator(world, version):
    if version < 4:
        return {"Key": "some-group", "KeyType": 0}
    return {"CoordinatorKeys": ["some-group", "another"], "KeyType": 0}


SUBJECTS = [
    Subject("ApiVersions", lambda world, version: {
        "ClientSoftwareName": "conformance", "ClientSoftwareVersion": "1.0"}, {
        "dashes": lambda world, version: {
            "ClientSoftwareName": "-a-", "ClientSoftwareVersion": "1"},
        "dots": lambda world, version: {
            "ClientSoftwareName": "a.b-c", "ClientSoftwareVersion": "1."},
    }),
    Subject("Metadata", metadata, {
        "all": metadata_all,
        "auto-create": metadata_auto_create,
        "by-id": metadata_by_id,
        "zero-id": lambda world, version: {"Topics": [{"Name": None, "TopicId": ZERO_ID}]},
        "id-and-name": lambda world, version: {
            "Topics": [{"Name": DATA, "TopicId": world.topic(DATA)}]},
        "unknown": lambda world, version: {
            "Topics": [{"Name": "no-such"}, {"Name": DATA}], "AllowAutoTopicCreation": False},
        "bad-name-created": lambda world, version: {
            "Topics": [{"Name": "bad name!"}], "AllowAutoTopicCreation": True},
    }, only=only_our_topics, since={"by-id": 10, "zero-id": 10, "id-and-name": 10}),
    Subject("DescribeCluster", describe_cluster),
    Subject("FindCoordinator", coordinator, {
        "transaction": lambda world, version: coordinator(world, version) | {"KeyType": 1},
    }, since={"transaction": 1}),
]
