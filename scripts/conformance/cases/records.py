"""Records in and out: Produce, Fetch, offsets, epochs, and what deletes records."""

from conformance.subject import Subject
from conformance.world import COMPACTED, DATA, EMPTY, NARROW, STAMPED, TIME_MS
from lab.wire import CONTROL, ZSTD, Batch

GOOD = Batch(values=(b"one", b"two"), timestamp=TIME_MS)
# A producer id that no broker has given out, and where each case may write without harm.
PRODUCER = {"producer_id": 4_000_000, "producer_epoch": 0}


def produce_to(topic, records, *, index=0, acks=-1, transactional=None):
    def body(world, version):
        name = topic or world.make_topic(world.fresh("produce"))
        where = world.by_version(name, version, 13, "Name")
        return {"TransactionalId": transactional, "Acks": acks, "TimeoutMs": 2_000, "TopicData": [
            where | {"PartitionData": [{"Index": index, "Records": records}]}]}
    return body


def produce_in_turn(*batches):
    """One after the other to a topic of its own; every answer counts."""
    def ask(world, version):
        name = world.make_topic(world.fresh("turns"))
        for batch in batches:
            world.call("Produce", version, produce_to(name, batch.encode())(world, version))
    return ask


def numbered(sequence, count=1, **changes):
    return Batch(values=(b"v",) * count, sequence=sequence, timestamp=TIME_MS,
                 **(PRODUCER | changes))


LIES = {
    "bad-crc": GOOD.but(crc=1), "magic-1": GOOD.but(magic=1), "magic-3": GOOD.but(magic=3),
    "count-too-high": GOOD.but(count=3), "count-negative": GOOD.but(count=-1),
    "last-delta-wrong": GOOD.but(last_offset_delta=5), "control": GOOD.but(attributes=CONTROL),
    "zstd-is-not": GOOD.but(attributes=ZSTD), "gzip-is-not": GOOD.but(attributes=1),
    "codec-7": GOOD.but(attributes=7), "max-timestamp-lies": GOOD.but(max_timestamp=5),
    "time-negative": GOOD.but(timestamp=-5), "time-none": GOOD.but(timestamp=-1),
    "future": GOOD.but(timestamp=99_000_000_000_000), "no-records": Batch(values=()),
    "sequence-without-producer": GOOD.but(sequence=3),
    "producer-without-sequence": GOOD.but(**PRODUCER),
    "transactional-bit": GOOD.but(attributes=0x10, sequence=0, **PRODUCER),
    "length-too-long": GOOD.but(length_error=4), "length-too-short": GOOD.but(length_error=-4),
}
PRODUCE = {name: produce_to(None, batch.encode()) for name, batch in LIES.items()} | {
    "two-batches": produce_to(None, GOOD.encode() * 2),
    "half-a-batch": produce_to(None, GOOD.encode()[:40]),
    "trailing-bytes": produce_to(None, GOOD.encode() + b"xy"),
    "acks-1": produce_to(None, GOOD.encode(), acks=1),
    "acks-2": produce_to(None, GOOD.encode(), acks=2),
    "unknown-partition": produce_to(DATA, GOOD.encode(), index=99),
    "no-key-to-compacted": produce_to(COMPACTED, GOOD.encode()),
    "stamped": produce_to(STAMPED, GOOD.encode()),
    "too-large": produce_to(NARROW, Batch(values=(b"x" * 400,)).encode()),
    "internal-topic": produce_to("__consumer_offsets", GOOD.encode()),
    "transactional-id": produce_to(None, GOOD.encode(), transactional="some"),
    "duplicate": produce_in_turn(numbered(0), numbered(0)),
    "sixth-back": produce_in_turn(*map(numbered, range(6)), numbered(0), numbered(1)),
    "gap": produce_in_turn(numbered(0), numbered(2)),
    "first-sequence-7": produce_in_turn(numbered(7), numbered(8)),
    "wrap": produce_in_turn(numbered(2**31 - 2, 2), numbered(0)),
    "old-epoch": produce_in_turn(numbered(0, producer_epoch=3), numbered(1)),
    "new-epoch-not-from-0": produce_in_turn(numbered(0), numbered(4, producer_epoch=1)),
    "new-epoch": produce_in_turn(numbered(0), numbered(0, producer_epoch=1)),
    "same-sequence-other-count": produce_in_turn(numbered(0, 2), numbered(0, 3)),
    "empty-partition-list": lambda world, version: {"Acks": -1, "TimeoutMs": 100, "TopicData": [
        world.by_version(DATA, version, 13, "Name") | {"PartitionData": []}]},
}


def fetch(*partitions, topic=DATA, session=(0, -1), forgotten=(), **fields):
    """`partitions` are dicts; an index alone reads from its beginning."""
    def body(world, version):
        of = world.by_version(topic, version, 13)
        entries = [{"FetchOffset": 0, "PartitionMaxBytes": 1 << 20} |
                   (one if isinstance(one, dict) else {"Partition": one}) for one in partitions]
        tree = {"MaxWaitMs": 50, "MinBytes": 1, "MaxBytes": 1 << 20, "SessionId": session[0],
                "SessionEpoch": session[1], "Topics": [of | {"Partitions": entries}] if entries
                else [], "ForgottenTopicsData": [of | {"Partitions": list(forgotten)}]
                if forgotten else []}
        return tree | fields
    return body


def fetch_session(world, version):
    """Opens a session and goes on in it, right and wrong."""
    opened = world.call("Fetch", version, fetch(0, 1, session=(0, 0))(world, version))
    number = opened["SessionId"]
    for epoch, partitions, forgotten in ((1, (), ()), (2, (2,), (0,)), (3, (), ()), (9, (), ())):
        world.call("Fetch", version, fetch(*partitions, session=(number, epoch),
                                           forgotten=forgotten)(world, version))
    world.call("Fetch", version, fetch(0, session=(number, -1))(world, version))
    world.call("Fetch", version, fetch(session=(number, 4))(world, version))


FETCH = {
    "several": fetch(0, 1, 2),
    "nothing": fetch(),
    "unknown-partition": fetch(0, 99),
    "unknown-topic": fetch(0, topic="no-such"),
    "at-the-end": fetch({"Partition": 0, "FetchOffset": 12}),
    "past-the-end": fetch({"Partition": 0, "FetchOffset": 13}),
    "inside-a-batch": fetch({"Partition": 0, "FetchOffset": 6}),
    "one-byte": fetch({"Partition": 0, "PartitionMaxBytes": 1}),
    "one-byte-in-all": fetch(0, 2, MaxBytes=1),
    "committed": fetch(0, 1, IsolationLevel=1),
    "epoch-too-new": fetch({"Partition": 0, "CurrentLeaderEpoch": 1_000_000}),
    "same-partition-twice": fetch(0, 0),
    "session": fetch_session,
    "session-unknown": fetch(0, session=(77, 1)),
    "session-epoch-without-id": fetch(0, session=(0, 1)),
    "min-bytes-waits": fetch(1, MinBytes=1_000),
}


def offsets_at(*timestamps, index=0, topic=DATA, **fields):
    def body(world, version):
        return {"ReplicaId": -1, "TimeoutMs": 1000, "Topics": [{"Name": topic, "Partitions": [
            {"PartitionIndex": index, "Timestamp": one} for one in timestamps]}]} | fields
    return body


LIST_OFFSETS = {
    "earliest": offsets_at(-2), "latest": offsets_at(-1), "max-timestamp": offsets_at(-3),
    "max-timestamp-empty": offsets_at(-3, index=1), "local": offsets_at(-4),
    "tiered": offsets_at(-5), "pending-upload": offsets_at(-6), "meaningless": offsets_at(-7),
    "first-time": offsets_at(TIME_MS), "between": offsets_at(TIME_MS + 1),
    "second-batch": offsets_at(TIME_MS + 4_000), "after-all": offsets_at(TIME_MS + 10_000_000),
    "zero": offsets_at(0), "empty-partition": offsets_at(TIME_MS, index=1),
    "unknown-partition": offsets_at(-1, index=99), "unknown-topic": offsets_at(-1, topic="no-such"),
    "committed": offsets_at(-1, IsolationLevel=1), "a-debugger": offsets_at(-1, ReplicaId=-2),
    "two-questions-of-one-partition": offsets_at(-1, -2),
    "no-partitions": offsets_at(),
}


def epoch_end(index=0, topic=DATA, **fields):
    def body(world, version):
        return {"ReplicaId": -1, "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": index, "CurrentLeaderEpoch": -1, "LeaderEpoch": 0} | fields]}]}
    return body


def delete_records(offset=0, index=0, topic=None):
    def body(world, version):
        name = topic or world.make_topic(world.fresh("shrinks"))
        if topic is None:
            world.produce(name, 0, GOOD.encode())
        return {"TimeoutMs": 2_000, "Topics": [{"Name": name, "Partitions": [
            {"PartitionIndex": index, "Offset": offset}]}]}
    return body


def delete_records_and_look(world, version):
    body = delete_records(1)(world, version)
    name = body["Topics"][0]["Name"]
    world.call("DeleteRecords", version, body)
    world.call("ListOffsets", 7, offsets_at(-2, topic=name)(world, 7))
    world.call("Fetch", 12, fetch(0, topic=name)(world, 12))
    world.call("Fetch", 12, fetch({"Partition": 0, "FetchOffset": 1}, topic=name)(world, 12))


SUBJECTS = [
    Subject("Produce", produce_to(None, GOOD.encode()), PRODUCE,
            spared=frozenset({"TimeoutMs"}),
            # Kafka's thread fails on it, and its client never gets an answer.
            omitted=frozenset({"TopicData.0.PartitionData.0.Records=null"})),
    Subject("Fetch", fetch(0), FETCH, spared=frozenset({"MaxWaitMs", "ReplicaId", "ReplicaState",
                                                        "ReplicaEpoch"}),
            since={"session": 7, "session-unknown": 7, "session-epoch-without-id": 7,
                   "epoch-too-new": 9}),
    Subject("ListOffsets", offsets_at(-1), LIST_OFFSETS, spared=frozenset({"TimeoutMs"})),
    Subject("OffsetForLeaderEpoch", epoch_end(), {
        "unknown-partition": epoch_end(index=99), "unknown-topic": epoch_end(topic="no-such"),
        "epoch-too-new": epoch_end(LeaderEpoch=1_000_000),
        "leader-too-new": epoch_end(CurrentLeaderEpoch=1_000_000),
    }),
    Subject("DeleteRecords", delete_records(1), {
        "all": delete_records(-1), "beyond": delete_records(3), "nothing": delete_records(0),
        "unknown-partition": delete_records(0, 99),
        "unknown-topic": delete_records(0, 0, "no-such"),
        "then-look": delete_records_and_look, "of-compacted": delete_records(0, 0, COMPACTED),
        "of-empty": delete_records(-1, 0, EMPTY),
    }, spared=frozenset({"TimeoutMs"})),
    Subject("InitProducerId", lambda world, version: {
        "TransactionalId": None, "TransactionTimeoutMs": 60_000}, {
        "transactional": lambda world, version: {
            "TransactionalId": world.fresh("t"), "TransactionTimeoutMs": 60_000},
        "empty-id": lambda world, version: {
            "TransactionalId": "", "TransactionTimeoutMs": 60_000},
        "timeout-too-long": lambda world, version: {
            "TransactionalId": world.fresh("t"), "TransactionTimeoutMs": 2**31 - 1},
    }),
    Subject("DescribeProducers", lambda world, version: {
        "Topics": [{"Name": DATA, "PartitionIndexes": [0]}]}, {
        "unknown": lambda world, version: {
            "Topics": [{"Name": "no-such", "PartitionIndexes": [0]},
                       {"Name": DATA, "PartitionIndexes": [99]}]}}),
]
