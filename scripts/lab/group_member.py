"""One member of a group as a process of its own: it reads, notes what it has read in a file, and
commits that. `group_storm` starts it, pauses it and kills it.

A line of the file is what one poll has brought of one partition: `time partition first last`. It is
written before it is committed, as an application does its work first. `time committed partition
position` is an acknowledged commit; `time lost` says that the group went on without this member."""

import os
import signal
import sys
import time
from contextlib import suppress

import confluent_kafka
import kafka
import kafka.coordinator.assignors.range
import kafka.errors

SESSION_MS = 6_000
HEARTBEAT_MS = 500
POLL_S = 0.2
BATCH = 200


class Notes:
    """The file, and what of it is not committed yet: the next offset by partition."""

    def __init__(self, path: str):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.positions = {}

    def read(self, places: list[tuple[int, int]]) -> None:
        """One poll's records, in order."""
        runs = {}
        for partition, offset in places:
            first, last = runs.get(partition, (offset, offset - 1))
            if offset != last + 1:
                self._run(partition, first, last)
                first = offset
            runs[partition] = (first, offset)
        for partition, (first, last) in runs.items():
            self._run(partition, first, last)
            self.positions[partition] = last + 1

    def _run(self, partition: int, first: int, last: int) -> None:
        self._line(f"{partition} {first} {last}")

    def committed(self) -> None:
        """All that is not committed yet was."""
        for partition, position in self.positions.items():
            self._line(f"committed {partition} {position}")
        self.positions.clear()

    def lost(self) -> None:
        """What is not committed now never will be."""
        self._line("lost")
        self.positions.clear()

    def _line(self, text: str) -> None:
        # One write a line: a kill leaves whole lines only.
        os.write(self.file, f"{time.time():.3f} {text}\n".encode())


class End:
    """Set by SIGTERM: leave the group in an orderly way."""

    def __init__(self):
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _ask(self, *_) -> None:
        self.is_asked = True


def rdkafka(address: str, topic: str, group: str, strategy: str, notes: Notes, end: End) -> None:
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
        "partition.assignment.strategy": strategy, "enable.auto.commit": False,
        "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS,
        "max.poll.interval.ms": 60_000, "reconnect.backoff.max.ms": 200, "log_level": 0,
        "coordinator.query.interval.ms": 1_000})

    def commit() -> None:
        places = [confluent_kafka.TopicPartition(topic, partition, position)
                  for partition, position in notes.positions.items()]
        if places:
            # Refused or unanswered: the next one says it again.
            with suppress(confluent_kafka.KafkaException):
                answers = consumer.commit(offsets=places, asynchronous=False)
                if not any(each.error for each in answers):
                    notes.committed()

    def revoked(_consumer, partitions) -> None:
        commit()
        for each in partitions:
            notes.positions.pop(each.partition, None)

    def lost(_consumer, _partitions) -> None:
        notes.lost()

    consumer.subscribe([topic], on_revoke=revoked, on_lost=lost)
    while not end.is_asked:
        messages = consumer.consume(BATCH, timeout=POLL_S)
        notes.read([(each.partition(), each.offset()) for each in messages if not each.error()])
        commit()
    consumer.close()


class Listener(kafka.ConsumerRebalanceListener):
    """Commits what is read before its partitions go elsewhere."""

    def __init__(self, commit, notes: Notes):
        self.commit = commit
        self.notes = notes

    def on_partitions_revoked(self, revoked) -> None:
        self.commit()
        self.notes.positions.clear()

    def on_partitions_assigned(self, assigned) -> None:
        pass


def python(address: str, topic: str, group: str, notes: Notes, end: End) -> None:
    assignors = [kafka.coordinator.assignors.range.RangePartitionAssignor]
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=address, group_id=group, auto_offset_reset="earliest",
        enable_auto_commit=False, session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS, max_poll_interval_ms=60_000,
        partition_assignment_strategy=assignors, reconnect_backoff_max_ms=200)

    def commit() -> None:
        places = {kafka.TopicPartition(topic, partition):
                  kafka.structs.OffsetAndMetadata(position, "", -1)
                  for partition, position in notes.positions.items()}
        if places:
            try:
                consumer.commit(places)
                notes.committed()
            except kafka.errors.CommitFailedError:
                notes.lost()
            except kafka.errors.KafkaError:
                pass

    consumer.subscribe([topic], listener=Listener(commit, notes))
    while not end.is_asked:
        with suppress(kafka.errors.KafkaConnectionError, kafka.errors.NodeNotReadyError):
            polled = consumer.poll(timeout_ms=int(POLL_S * 1000), max_records=BATCH)
            notes.read([(each.partition, each.offset)
                        for records in polled.values() for each in records])
            commit()
    commit()
    consumer.close(autocommit=False)


def main(kind: str, address: str, topic: str, group: str, path: str) -> None:
    notes, end = Notes(path), End()
    if kind == "python":
        python(address, topic, group, notes, end)
    else:
        rdkafka(address, topic, group, kind, notes, end)


if __name__ == "__main__":
    main(*sys.argv[1:])
