"""What a case finds on a broker: fixed topics with fixed records, names of its own, and the way to
ask. Both brokers get the same world, so that only their answers can differ."""

import time
import uuid

from conformance.peer import Peer
from lab.wire import Batch

# Old enough to be told from the broker's own clock; the topics keep records for ever.
TIME_MS = 1_700_000_000_000
DATA, EMPTY, COMPACTED, STAMPED, NARROW = (
    "conf-data", "conf-empty", "conf-compacted", "conf-stamped", "conf-narrow")
TOPICS = {
    DATA: (3, {}),
    EMPTY: (2, {}),
    COMPACTED: (1, {"cleanup.policy": "compact"}),
    STAMPED: (1, {"message.timestamp.type": "LogAppendTime"}),
    NARROW: (1, {"max.message.bytes": "300"}),
}
ZERO_ID = uuid.UUID(int=0)
SETTLE_S = 0.1
FIND_COORDINATOR = 10
# Coordinator loading, not available, not here.
NOT_YET = (14, 15, 16)
COORDINATED = "conf-coordinated"


class World:
    """One broker as the cases see it."""

    def __init__(self, peer: Peer):
        self.peer = peer
        self.ids = {}
        self.case = ""
        self.made = 0
        self.answers = []

    def build(self) -> None:
        self._wait_for_producer_ids()
        self._wait_for_groups()
        for name, (partitions, configs) in TOPICS.items():
            self.make_topic(name, partitions, configs | {"retention.ms": "-1"})
        for first in (0, 4, 8):
            batch = Batch(values=tuple(b"value-%d" % n for n in range(first, first + 4)),
                          timestamp=TIME_MS + first * 1000)
            self.produce(DATA, 0, batch.encode())
        self.produce(DATA, 2, Batch(values=(b"only",), timestamp=TIME_MS).encode())

    def _wait_for_producer_ids(self) -> None:
        """A Kafka that has just started has none yet, and says 14."""
        for _ in range(200):
            if self.peer.ask("InitProducerId", 1, {"TransactionalId": None})["ErrorCode"] == 0:
                return
            time.sleep(0.05)

    def _wait_for_groups(self) -> None:
        """A Kafka makes the topic of its groups when somebody asks, and loads each partition."""
        waiting = {f"{COORDINATED}-{number}" for number in range(300)}
        if FIND_COORDINATOR not in self.peer.served():
            return
        for _ in range(300):
            found = self.peer.ask("FindCoordinator", 0, {"Key": COORDINATED})
            if found["ErrorCode"] == 0:
                waiting = {group for group in waiting if self._is_loading(group)}
            if not waiting:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.peer.name} does not coordinate {len(waiting)} groups")

    def _is_loading(self, group: str) -> bool:
        heartbeat = {"GroupId": group, "GenerationId": 1, "MemberId": "nobody"}
        return self.peer.ask("Heartbeat", 0, heartbeat)["ErrorCode"] in NOT_YET

    def begin(self, case: str) -> None:
        """Names and answers from now on belong to this case."""
        self.case = case
        self.made = 0
        self.answers = []

    def fresh(self, kind: str) -> str:
        """A name that no other case uses."""
        self.made += 1
        return f"{kind}-{self.case}-{self.made}"

    def call(self, api: str, version: int, tree: dict):
        """Asks, and writes the answer down to be compared."""
        answer = self.peer.ask(api, version, tree)
        for _ in range(100):
            # A Kafka leads a new partition a little later than it says so.
            if "'ErrorCode': 6," not in str(answer):
                break
            time.sleep(0.02)
            answer = self.peer.ask(api, version, tree)
        self.answers.append((api, version, answer))
        return answer

    def topic(self, name: str) -> uuid.UUID:
        return self.ids[name]

    def make_topic(self, name: str, partitions=1, configs=None) -> str:
        entries = [{"Name": key, "Value": value} for key, value in (configs or {}).items()]
        topic = {"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
                 "Configs": entries}
        done = self.peer.ask("CreateTopics", 7, {"Topics": [topic], "timeoutMs": 10_000})
        answer, = done["Topics"]
        if answer["ErrorCode"] != 0:
            raise RuntimeError(f"{self.peer.name} did not create {name}: {answer}")
        self.ids[name] = answer["TopicId"]
        self._wait_for_leaders(name, partitions)
        return name

    def _wait_for_leaders(self, name: str, partitions: int) -> None:
        """Kafka's brokers learn of a topic a little after its creation was answered."""
        for _ in range(200):
            topic, = self.peer.ask("Metadata", 9, {"Topics": [{"Name": name}],
                                                   "AllowAutoTopicCreation": False})["Topics"]
            if topic["ErrorCode"] == 0 and len(topic["Partitions"]) == partitions:
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.peer.name} has no leaders for {name}: {topic}")

    def make_sure(self, name: str) -> None:
        """Waits until the broker itself knows a topic that was just created."""
        for _ in range(200):
            topic, = self.peer.ask("Metadata", 9, {"Topics": [{"Name": name}],
                                                   "AllowAutoTopicCreation": False})["Topics"]
            if topic["ErrorCode"] == 0:
                return
            time.sleep(0.02)

    def settle(self) -> None:
        """A Kafka broker learns of a change a little after it was answered."""
        time.sleep(SETTLE_S)

    def produce(self, topic: str, index: int, records: bytes) -> None:
        body = {"Acks": -1, "TimeoutMs": 10_000, "TopicData": [
            {"Name": topic, "PartitionData": [{"Index": index, "Records": records}]}]}
        for _ in range(100):
            answer = self.peer.ask("Produce", 9, body)
            code = answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
            if code == 0:
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.peer.name} refused a batch for {topic}: {code}")

    def by_version(self, name: str, version: int, ids_from: int, key="Topic") -> dict:
        """The name or the id of a topic, whichever this version has."""
        if version < ids_from:
            return {key: name}
        return {"TopicId": self.ids.get(name, ZERO_ID)}
