"""Consumer groups through unmodified clients: who gets what, what survives, who sees it."""

import json
import re
import struct
import threading
import time

import confluent_kafka
import kafka
import pytest

from lab import clients, wire

# A group that is alone need not wait for others.
AT_ONCE = {"group.initial.rebalance.delay.ms": 0}
PARTITIONS = 4
PATIENCE_S = 30
OFFSET_COMMIT = 8
FIND_COORDINATOR = 10


class Member:
    """A confluent-kafka consumer that reads in a thread until it is told how to end."""

    def __init__(self, broker, topic, group, **settings):
        self.seen = []
        self.assigned = set()
        self.lost = 0
        self.failure = None
        self._end = threading.Event()
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
            "enable.auto.commit": False, **settings})
        self.consumer.subscribe([topic], on_assign=self._gained, on_revoke=self._revoked)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _gained(self, _consumer, partitions):
        self.assigned |= {each.partition for each in partitions}

    def _revoked(self, _consumer, partitions):
        self.assigned -= {each.partition for each in partitions}
        self.lost += len(partitions)

    def _run(self):
        try:
            while not self._end.is_set():
                for message in self.consumer.consume(100, timeout=0.1):
                    if message.error():
                        continue
                    self.seen.append((message.partition(), message.offset()))
                if self.seen and self.assigned:
                    self._commit()
        except Exception as error:  # the test says it, not the thread
            self.failure = error
        finally:
            self.consumer.close()

    def _commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as error:
            code = error.args[0].code()
            expected = [confluent_kafka.KafkaError._NO_OFFSET,
                        confluent_kafka.KafkaError.REBALANCE_IN_PROGRESS,
                        confluent_kafka.KafkaError.ILLEGAL_GENERATION,
                        confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID]
            if code not in expected:
                raise

    def end(self):
        self._end.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "the consumer does not close"
        assert self.failure is None, self.failure


def until(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)


def fill(broker, topic, per_partition, start=0):
    producer = confluent_kafka.Producer({"bootstrap.servers": broker, "linger.ms": 5})
    for number in range(start, start + per_partition):
        for partition in range(PARTITIONS):
            producer.produce(topic, b"%d" % number, partition=partition)
    assert producer.flush(PATIENCE_S) == 0


def everything(per_partition):
    return {(partition, offset) for partition in range(PARTITIONS)
            for offset in range(per_partition)}


@pytest.fixture
def served(spate):
    return spate(shards=2, settings=AT_ONCE).start()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_members_share_partitions_and_miss_no_record(served, topic, strategy):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 100)
    settings = {"partition.assignment.strategy": strategy}
    members = [Member(served.address, topic, "sharing", **settings)]
    until("the first has all", lambda: len(members[0].assigned) == PARTITIONS)
    members += [Member(served.address, topic, "sharing", **settings) for _ in range(2)]
    until("three share", lambda: sorted(len(each.assigned) for each in members) == [1, 1, 2])
    fill(served.address, topic, 100, start=100)
    until("all records came", lambda: {
        place for each in members for place in each.seen} == everything(200))
    members.pop().end()
    until("two share", lambda: sorted(len(each.assigned) for each in members) == [2, 2])
    for each in members:
        each.end()


def test_offsets_survive_kill_9_and_members_go_on(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 50)
    first = Member(served.address, topic, "surviving")
    until("all records came", lambda: set(first.seen) >= everything(50))
    until("all are committed", lambda: all(
        committed(served.address, "surviving", topic, each) == 50 for each in range(PARTITIONS)))
    served.restart()
    fill(served.address, topic, 50, start=50)
    until("the member goes on", lambda: set(first.seen) >= everything(100))
    first.end()
    assert len(first.seen) == len(set(first.seen)), "a record came twice"
    second = Member(served.address, topic, "surviving")
    until("it has all", lambda: len(second.assigned) == PARTITIONS)
    fill(served.address, topic, 1, start=100)
    until("only the new came", lambda: len(second.seen) == PARTITIONS)
    assert {offset for _, offset in second.seen} == {100}
    second.end()


def committed(broker, group, topic, partition):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
    try:
        place = confluent_kafka.TopicPartition(topic, partition)
        return consumer.committed([place], timeout=10)[0].offset
    finally:
        consumer.close()


def test_a_static_member_comes_back_without_a_rebalance(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 1)
    named = {"group.instance.id": "one"}
    other = Member(served.address, topic, "static", **{"group.instance.id": "two"})
    first = Member(served.address, topic, "static", **named)
    until("both have two", lambda: len(first.assigned) == len(other.assigned) == 2)
    had, lost = set(first.assigned), other.lost
    first.end()
    again = Member(served.address, topic, "static", **named)
    until("it has its partitions back", lambda: again.assigned == had)
    assert other.lost == lost, "the other member was rebalanced"
    again.end()
    other.end()


def test_kafka_python_shares_with_librdkafka(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 20)
    rdkafka = Member(served.address, topic, "mixed")
    until("the first has all", lambda: len(rdkafka.assigned) == PARTITIONS)
    python = kafka.KafkaConsumer(
        topic, bootstrap_servers=served.address, group_id="mixed", auto_offset_reset="earliest",
        partition_assignment_strategy=[kafka.coordinator.assignors.range.RangePartitionAssignor],
        heartbeat_interval_ms=500, session_timeout_ms=6000)
    deadline = time.monotonic() + PATIENCE_S
    while len(python.assignment()) != 2 and time.monotonic() < deadline:
        python.poll(timeout_ms=100)
    assert len(python.assignment()) == len(rdkafka.assigned) == 2
    python.close()
    until("it is alone again", lambda: len(rdkafka.assigned) == PARTITIONS)
    rdkafka.end()


def test_kcat_reads_as_a_member(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 10)
    came = clients.run(["kcat", "-q", "-b", served.address, "-X", "auto.offset.reset=earliest",
                        "-f", "%p %o\\n", "-e", "-G", "kcat", topic], timeout_s=PATIENCE_S)
    places = {tuple(map(int, line.split())) for line in came.decode().splitlines()}
    assert places == everything(10)


def test_java_reads_as_a_member_and_its_tools_see_and_move_the_group(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 10)
    said = clients.java_tool("console-consumer", "--bootstrap-server", served.address, "--topic",
                             topic, "--group", "java", "--from-beginning", "--max-messages", "40",
                             "--timeout-ms", "20000")
    assert len(said.split()) == 40

    def tool(*more):
        return clients.java_tool("consumer-groups", "--bootstrap-server", served.address, *more)

    assert "java" in tool("--list").split()
    described = [line.split() for line in tool("--describe", "--group", "java").splitlines()
                 if topic in line]
    assert sorted(line[3:6] for line in described) == [["10", "10", "0"]] * PARTITIONS
    tool("--reset-offsets", "--group", "java", "--topic", topic, "--shift-by", "-4", "--execute")
    described = tool("--describe", "--group", "java")
    assert len(re.findall(r"\s6\s+10\s+4\s", described)) == PARTITIONS, described
    tool("--delete", "--group", "java")
    assert "java" not in tool("--list").split()


def test_kafkas_formatter_reads_the_offsets_topic(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 1)
    member = Member(served.address, topic, "formatted")
    until("all records came", lambda: set(member.seen) >= everything(1))
    member.end()
    said = clients.java_tool(
        "console-consumer", "--bootstrap-server", served.address, "--topic", "__consumer_offsets",
        "--from-beginning", "--timeout-ms", "6000", "--formatter",
        "org.apache.kafka.tools.consumer.OffsetsMessageFormatter")
    # The formatter writes one object behind the other.
    rows = [json.loads(row) for row in re.findall(r'{"key".*?(?={"key"|$)', said.strip())]
    offsets = [row for row in rows if row["key"]["data"].get("topic") == topic]
    ends = {row["key"]["data"]["partition"]: row["value"]["data"]["offset"] for row in offsets
            if row["value"]}
    assert ends == {partition: 1 for partition in range(PARTITIONS)}, said


def test_our_own_tool_lists_describes_moves_and_deletes(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    fill(served.address, topic, 10)
    member = Member(served.address, topic, "ours")
    until("all records came", lambda: set(member.seen) >= everything(10))

    def group(*arguments):
        done = served.cli("group", *arguments)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    assert [each["state"] for each in json.loads(group("list", "--json"))] == ["Stable"]
    described = json.loads(group("describe", "ours", "--json"))[0]
    assert {each["member"] for each in described["partitions"]} != {None}
    refused = served.cli("group", "delete", "ours")
    assert refused.returncode != 0 and b"not empty" in refused.stderr.lower()
    member.end()
    group("reset-offsets", "ours", "--all-topics", "--to-offset", "3", "--execute")
    described = json.loads(group("describe", "ours", "--json"))[0]
    assert [each["lag"] for each in described["partitions"]] == [7] * PARTITIONS
    shown = group("reset-offsets", "ours", "--topic", f"{topic}:0", "--to-earliest")
    assert "--execute" in shown
    assert "lag 28" in group("describe", "ours")
    assert group("delete", "ours") == "ours deleted\n"
    assert json.loads(group("list", "--json")) == []


def test_deleting_a_topic_takes_its_offsets_from_groups(served, topic):
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": served.address, "group.id": "gone"})
    place = confluent_kafka.TopicPartition(topic, 1, 7)
    consumer.commit(offsets=[place], asynchronous=False)
    assert consumer.committed([place], timeout=10)[0].offset == 7
    served.cli("topic", "delete", topic)
    clients.create_topic(served.address, topic, partitions=PARTITIONS)
    none = confluent_kafka.OFFSET_INVALID
    until("the offset is gone", lambda: consumer.committed([place], timeout=10)[0].offset == none)
    consumer.close()
    served.restart()
    assert committed(served.address, "gone", topic, 1) == none


@pytest.mark.everywhere
def test_unused_offsets_expire(spate, topic):
    settings = {**AT_ONCE, "offsets.retention.check.interval.ms": 100}
    served = spate(shards=1, settings=settings).start()
    clients.create_topic(served.address, topic)
    # OffsetCommit 2 may say itself how long its offsets are to be kept.
    kept, brief = ("kept", -1), ("brief", 200)
    with wire.Connection(served.endpoint) as connection:
        connection.call(FIND_COORDINATOR, 0, wire.string("kept"))
        for group, retention_ms in (kept, brief):
            partition = struct.pack(">iq", 0, 5) + wire.string("note")
            body = wire.string(group) + struct.pack(">i", -1) + wire.string("")
            body += struct.pack(">q", retention_ms)
            body += wire.array([wire.string(topic) + wire.array([partition])])
            answer = connection.call(OFFSET_COMMIT, 2, body)
            assert answer.data[-2:] == b"\0\0", answer.data
    until("it expires", lambda: json.loads(served.cli("group", "list", "--json").stdout) == [
        {"group": "kept", "protocol_type": "", "state": "Empty", "type": "classic"}])
    assert committed(served.address, "kept", topic, 0) == 5



def commit_body(group, topic, offset):
    partition = struct.pack(">iq", 0, offset) + wire.string("")
    body = wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">q", -1)
    return body + wire.array([wire.string(topic) + wire.array([partition])])


@pytest.mark.everywhere
def test_commits_sent_ahead_are_answered_in_order_and_the_last_survives_kill_9(spate, topic):
    served = spate(shards=2, settings=AT_ONCE).start()
    clients.create_topic(served.address, topic)
    groups, count = [f"ahead-{each}" for each in range(5)], 200
    with wire.Connection(served.endpoint) as connection:
        connection.call(FIND_COORDINATOR, 0, wire.string(groups[0]))
        sent = [connection.send(OFFSET_COMMIT, 2, commit_body(groups[each % 5], topic, each))
                for each in range(count)]
        for wanted in sent:
            correlation, answer = connection.receive()
            assert correlation == wanted
            assert answer.data[-2:] == b"\0\0", answer.data
    served.restart()
    found = [committed(served.address, group, topic, 0) for group in groups]
    assert found == [count - 5 + each for each in range(5)]


def test_a_join_that_waits_gives_its_requests_memory_back(spate):
    # The first member of a group waits for others.
    served = spate(shards=1, settings={"group.initial.rebalance.delay.ms": 60_000}).start()
    metadata = bytes(600_000)
    body = wire.string("waiting") + struct.pack(">i", 60_000) + wire.string("")
    body += wire.string("consumer")
    body += wire.array([wire.string("range") + struct.pack(">i", len(metadata)) + metadata])

    def counted(name):
        row = re.search(rf"^{name} +(\d+)", served.statistics(), re.MULTILINE)
        return int(row[1])

    with wire.Connection(served.endpoint) as connection:
        connection.call(FIND_COORDINATOR, 0, wire.string("waiting"))
        connection.send(11, 0, body)
        until("the group has the member", lambda: counted("group_bytes") > len(metadata))
        until("the request's memory is free", lambda: counted("receive_bytes") < 100_000)
