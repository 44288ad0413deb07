"""Classic consumer groups and their offsets, from the first join to the deletion."""

from conformance.mutate import UNKNOWN_ID
from conformance.subject import Subject
from conformance.world import DATA, EMPTY

SESSION_MS = 10_000
METADATA = b"\x00\x01\x00\x00\x00\x01\x00\x09conf-data\xff\xff\xff\xff"
ASSIGNMENT = b"\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff"
NEEDS_MEMBER_ID = 79


def join_body(group, member="", **fields):
    return {"GroupId": group, "SessionTimeoutMs": SESSION_MS, "RebalanceTimeoutMs": SESSION_MS,
            "MemberId": member, "ProtocolType": "consumer",
            "Protocols": [{"Name": "range", "Metadata": METADATA}]} | fields


def sync_body(group, member, generation, **fields):
    return {"GroupId": group, "GenerationId": generation, "MemberId": member,
            "ProtocolType": "consumer", "ProtocolName": "range",
            "Assignments": [{"MemberId": member, "Assignment": ASSIGNMENT}]} | fields


def joined(world, **fields):
    """A group of one member that waits for its assignment: group, member, generation."""
    group = world.fresh("group")
    answer = world.peer.ask("JoinGroup", 5, join_body(group, **fields))
    if answer["ErrorCode"] == NEEDS_MEMBER_ID:
        answer = world.peer.ask("JoinGroup", 5, join_body(group, answer["MemberId"], **fields))
    return group, answer["MemberId"], answer["GenerationId"]


def stable(world, **fields):
    """The same, assigned."""
    group, member, generation = joined(world, **fields)
    world.peer.ask("SyncGroup", 4, {key: value for key, value in sync_body(
        group, member, generation).items() if not key.startswith("Protocol")})
    return group, member, generation


def committed(world, empty=False):
    """A group with offsets; without members if `empty`."""
    group, member, generation = world.fresh("group"), "", -1
    if not empty:
        group, member, generation = stable(world)
    world.peer.ask("OffsetCommit", 8, commit_body(8, group, member, generation))
    return group, member, generation


def commit_body(version, group, member="", generation=-1, offset=5, note="note", topic=DATA,
                index=0, topic_id=None):
    name = {"Name": topic} if version < 10 else {"TopicId": topic_id}
    return {"GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member,
            "Topics": [name | {"Partitions": [{"PartitionIndex": index, "CommittedOffset": offset,
                                               "CommittedMetadata": note}]}]}


def join(world, version):
    """As a client does: a second time with the id that it is given, where it is given one."""
    group = world.fresh("group")
    answer = world.call("JoinGroup", version, join_body(group))
    if answer["ErrorCode"] == NEEDS_MEMBER_ID:
        world.call("JoinGroup", version, join_body(group, answer["MemberId"]))


def join_with(**fields):
    return lambda world, version: join_body(world.fresh("group"), **fields)


def join_again(**fields):
    """The only member of a stable group once more, as itself."""
    def ask(world, version):
        group, member, _ = stable(world)
        return join_body(group, member, **fields)
    return ask


def join_static_again(world, version):
    group, member, _ = stable(world, GroupInstanceId="one")
    world.call("JoinGroup", version, join_body(group, GroupInstanceId="one"))
    world.call("Heartbeat", 3, {"GroupId": group, "GenerationId": 1, "MemberId": member,
                                "GroupInstanceId": "one"})


def sync(world, version):
    return sync_body(*joined(world))


def sync_with(**fields):
    return lambda world, version: sync(world, version) | fields


def sync_stable(world, version):
    return sync_body(*stable(world))


def heartbeat(world, version):
    group, member, generation = stable(world)
    return {"GroupId": group, "GenerationId": generation, "MemberId": member}


def heartbeat_with(**fields):
    return lambda world, version: heartbeat(world, version) | fields


def heartbeat_before_sync(world, version):
    group, member, generation = joined(world)
    return {"GroupId": group, "GenerationId": generation, "MemberId": member}


def leave(world, version):
    group, member, _ = stable(world)
    return leave_body(version, group, member)


def leave_body(version, group, *members, instance=None):
    if version < 3:
        return {"GroupId": group, "MemberId": members[0]}
    return {"GroupId": group, "Members": [
        {"MemberId": member, "GroupInstanceId": instance} for member in members]}


def leave_unknown(world, version):
    group, _, _ = stable(world)
    return leave_body(version, group, "no-such-member")


def leave_no_group(world, version):
    return leave_body(version, world.fresh("group"), "no-such-member")


def leave_and_look(world, version):
    group, member, _ = committed(world)
    world.call("LeaveGroup", version, leave_body(version, group, member))
    world.call("DescribeGroups", 5, {"Groups": [group]})
    world.call("Heartbeat", 3, {"GroupId": group, "GenerationId": 1, "MemberId": member})
    world.call("OffsetFetch", 7, fetch_body(7, group))


def leave_static(world, version):
    group, _, _ = stable(world, GroupInstanceId="one")
    return leave_body(version, group, "", instance="one")


def commit(world, version):
    group, member, generation = stable(world)
    return commit_body(version, group, member, generation, topic_id=world.topic(DATA))


def commit_with(**fields):
    def body(world, version):
        topic_id = world.ids.get(fields.get("topic", DATA), UNKNOWN_ID)
        return commit_body(version, world.fresh("group"), topic_id=topic_id, **fields)
    return body


def commit_as(**fields):
    return lambda world, version: commit(world, version) | fields


def commit_to_living_group_without_member(world, version):
    group, _, _ = stable(world)
    return commit_body(version, group, topic_id=world.topic(DATA))


def commit_and_look(world, version):
    group = world.fresh("group")
    for offset, note in ((3, "first"), (7, ""), (9, None)):
        world.call("OffsetCommit", version, commit_body(
            version, group, offset=offset, note=note, topic_id=world.topic(DATA)))
        world.call("OffsetFetch", 7, fetch_body(7, group))


def fetch_body(version, group, topics=((DATA, (0, 1)),), ids=None, **fields):
    """`topics` of None asks for all."""
    if version < 8:
        return {"GroupId": group, "Topics": None if topics is None else [
            {"Name": name, "PartitionIndexes": list(indexes)} for name, indexes in topics]}
    named = None if topics is None else [
        ({"Name": name} if version < 10 else {"TopicId": ids[name]}) |
        {"PartitionIndexes": list(indexes)} for name, indexes in topics]
    return {"Groups": [{"GroupId": group, "Topics": named} | fields]}


def fetch(world, version):
    return fetch_body(version, committed(world)[0], ids=world.ids)


def fetch_all(world, version):
    return fetch_body(version, committed(world)[0], None)


def fetch_unknown_group(world, version):
    return fetch_body(version, world.fresh("group"), ids=world.ids)


def fetch_unknown_group_all(world, version):
    return fetch_body(version, world.fresh("group"), None)


def fetch_unknown_partition(world, version):
    group, _, _ = committed(world)
    return fetch_body(version, group, ((DATA, (99,)), (EMPTY, (0,))), ids=world.ids)


def fetch_as_member(epoch, member=None):
    def body(world, version):
        group, own, generation = committed(world)
        return fetch_body(version, group, ids=world.ids, MemberId=member or own,
                          MemberEpoch=generation + epoch)
    return body


def describe(world, version):
    return {"Groups": [stable(world)[0]], "IncludeAuthorizedOperations": True}


def describe_others(world, version):
    return {"Groups": [world.fresh("group"), committed(world, empty=True)[0],
                       joined(world)[0], ""]}


def list_groups(world, version):
    committed(world, empty=True)
    committed(world)
    joined(world)
    return {}


def list_with(**fields):
    return lambda world, version: list_groups(world, version) | fields


def only_this_case(world, answer):
    if isinstance(answer.get("Groups"), list):
        answer["Groups"] = [group for group in answer["Groups"] if world.case in group["GroupId"]]


def delete(world, version):
    return {"GroupsNames": [committed(world, empty=True)[0]]}


def delete_others(world, version):
    return {"GroupsNames": [world.fresh("group"), committed(world)[0], ""]}


def delete_and_look(world, version):
    group, _, _ = committed(world, empty=True)
    for _ in range(2):
        world.call("DeleteGroups", version, {"GroupsNames": [group]})
    world.call("OffsetFetch", 7, fetch_body(7, group))
    world.call("DescribeGroups", 5, {"Groups": [group]})


def delete_offsets(world, version):
    return delete_offsets_of(committed(world, empty=True)[0])


def delete_offsets_of(group, topic=DATA, index=0):
    return {"GroupId": group, "Topics": [{"Name": topic, "Partitions": [
        {"PartitionIndex": index}]}]}


SUBJECTS = [
    Subject("JoinGroup", join, {
        "first": join_with(), "empty-protocols": join_with(Protocols=[]),
        "no-type": join_with(ProtocolType=""), "session-too-short": join_with(SessionTimeoutMs=1),
        "session-too-long": join_with(SessionTimeoutMs=10**9),
        "unknown-member": join_with(member="no-such-member"),
        "static": join_with(GroupInstanceId="one"), "again": join_again(),
        "again-other-type": join_again(ProtocolType="connect"),
        "again-other-protocol": join_again(Protocols=[{"Name": "own", "Metadata": b""}]),
        "empty-group-id": lambda world, version: join_body(""),
        "static-again": join_static_again,
    }, spared=frozenset({"RebalanceTimeoutMs"}), since={"static": 5, "static-again": 5}),
    Subject("SyncGroup", sync, {
        "stable": sync_stable, "generation-ahead": sync_with(GenerationId=9),
        "unknown-member": sync_with(MemberId="no-such-member"),
        "other-protocol": sync_with(ProtocolName="own"),
        "other-type": sync_with(ProtocolType="connect"),
        "no-assignments": sync_with(Assignments=[]),
        "unknown-group": sync_with(GroupId="no-such-group"), "empty-group": sync_with(GroupId=""),
    }, since={"other-protocol": 5, "other-type": 5}),
    Subject("Heartbeat", heartbeat, {
        "generation-ahead": heartbeat_with(GenerationId=9),
        "unknown-member": heartbeat_with(MemberId="no-such-member"),
        "unknown-group": heartbeat_with(GroupId="no-such-group"),
        "empty-group": heartbeat_with(GroupId=""), "before-sync": heartbeat_before_sync,
        "unknown-instance": heartbeat_with(GroupInstanceId="two"),
    }, since={"unknown-instance": 3}),
    Subject("LeaveGroup", leave, {
        "unknown": leave_unknown, "no-group": leave_no_group, "then-look": leave_and_look,
        "static": leave_static,
    }, since={"static": 3}),
    Subject("OffsetCommit", commit, {
        "alone": commit_with(), "alone-generation-0": commit_with(generation=0),
        "note-too-long": commit_with(note="n" * 5_000), "negative": commit_with(offset=-1),
        "beyond-the-end": commit_with(offset=1_000_000),
        "unknown-partition": commit_with(index=99), "unknown-topic": commit_with(topic="no-such"),
        "generation-ahead": commit_as(GenerationIdOrMemberEpoch=9),
        "unknown-member": commit_as(MemberId="no-such-member"),
        "empty-group": commit_as(GroupId=""), "unknown-group": commit_as(GroupId="no-such-group"),
        "without-member": commit_to_living_group_without_member, "then-look": commit_and_look,
    }),
    Subject("OffsetFetch", fetch, {
        "all": fetch_all, "unknown-group": fetch_unknown_group,
        "unknown-group-all": fetch_unknown_group_all, "unknown-partition": fetch_unknown_partition,
        "as-member": fetch_as_member(0), "as-member-ahead": fetch_as_member(3),
        "as-unknown-member": fetch_as_member(0, "no-such-member"),
    }, since={"all": 2, "unknown-group-all": 2, "as-member": 9, "as-member-ahead": 9,
              "as-unknown-member": 9}),
    Subject("DescribeGroups", describe, {"others": describe_others}),
    Subject("ListGroups", list_groups, {
        "stable": list_with(StatesFilter=["Stable"]), "lower": list_with(StatesFilter=["empty"]),
        "no-such-state": list_with(StatesFilter=["Sleeping"]),
        "classic": list_with(TypesFilter=["classic"]),
        "consumer": list_with(TypesFilter=["consumer"]),
        "no-such-type": list_with(TypesFilter=["sleepy"]),
    }, only=only_this_case, since={"stable": 4, "lower": 4, "no-such-state": 4, "classic": 5,
                                   "consumer": 5, "no-such-type": 5}),
    Subject("DeleteGroups", delete, {"others": delete_others, "then-look": delete_and_look}),
    Subject("OffsetDelete", delete_offsets, {
        "subscribed": lambda world, version: delete_offsets_of(committed(world)[0]),
        "unknown-group": lambda world, version: delete_offsets_of(world.fresh("group")),
        "unknown-partition": lambda world, version: delete_offsets_of(
            committed(world, empty=True)[0], index=99),
        "unknown-topic": lambda world, version: delete_offsets_of(
            committed(world, empty=True)[0], "no-such"),
    }),
]
