"""Kills the broker at random moments under load and checks its promises after every start.

    scripts/chaos [--kills 100] [--seed N] [--reactor io_uring|epoll] [--shards 1,2,3]

Two idempotent producers (confluent-kafka, acks=all) write to all partitions all the time and keep
every acknowledgement. After each kill -9 the broker starts again, often with another number of
shards; what is new since the last look is read back and compared with the acknowledgements. At the
end everything is read once more from the beginning.

The moments come from the seed, which is printed; the interleaving with the load does not."""

import argparse
import random
import shutil
import sys
import threading
import time
from pathlib import Path

import confluent_kafka

from lab import ROOT, clients
from lab.broker import Broker, DidNotStart
from lab.ledger import Broken, Ledger

TOPIC = "chaos"
PARTITIONS = 6
# Enough in flight that a kill always cuts some, little enough that a resend takes no second.
UNACKNOWLEDGED_MAX = 2_000
QUIET_S = 30


class Producer(threading.Thread):
    """Sends numbered records until told to stop; every delivery goes into the ledger."""

    def __init__(self, name: bytes, broker: Broker, ledger: Ledger, seed: int):
        super().__init__(daemon=True)
        self.mark = name
        self.ledger = ledger
        self.chance = random.Random(seed)
        self.number = 0
        self.failure = None
        self.paused = threading.Event()
        self.finished = threading.Event()
        self.client = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "enable.idempotence": True, "acks": "all",
            "linger.ms": 1, "message.timeout.ms": 300_000, "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "log_level": 2,
            "socket.connection.setup.timeout.ms": 2_000,
            "topic.metadata.refresh.interval.ms": 1_000})

    def run(self) -> None:
        try:
            while not self.finished.is_set():
                self._send_some()
            self.client.flush(QUIET_S)
        except Exception as failure:  # whatever it was, the main thread must hear of it
            self.failure = failure

    def _send_some(self) -> None:
        if self.paused.is_set() or len(self.client) >= UNACKNOWLEDGED_MAX:
            self.client.poll(0.02)
            return
        for _ in range(self.chance.randint(1, 50)):
            size = self.chance.choice([0, 20, 200, 1_000, 5_000])
            value = self.mark + b"%012d" % self.number + b"." * size
            self.client.produce(TOPIC, value, partition=self.chance.randrange(PARTITIONS),
                                on_delivery=self._delivered)
            self.number += 1
        self.client.poll(0)

    def _delivered(self, error, message) -> None:
        if error:
            self.failure = Broken(f"{message.value()[:14]!r} failed for good: {error}")
        else:
            self.ledger.acknowledge(message.partition(), message.offset(), message.value())


class Reader:
    """Reads every partition from where it stopped to its end, and has the ledger compare."""

    def __init__(self, broker: Broker, ledger: Ledger):
        self.ledger = ledger
        self.client = confluent_kafka.Consumer({
            "bootstrap.servers": broker.address, "group.id": "chaos", "log_level": 2,
            "enable.auto.commit": False, "reconnect.backoff.max.ms": 100,
            "fetch.wait.max.ms": 20, "auto.offset.reset": "error"})

    def catch_up(self) -> None:
        promised = [self.ledger.promised_to(index) for index in range(PARTITIONS)]
        ends = {index: self._end(index) for index in range(PARTITIONS)}
        for index, least in enumerate(promised):
            if ends[index] < least:
                raise Broken(f"partition {index} ends at {ends[index]}, but it was acknowledged "
                             f"or read to {least}")
        behind = {index for index, end in ends.items() if self._position(index) < end}
        self.client.assign([confluent_kafka.TopicPartition(TOPIC, index, self._position(index))
                            for index in behind])
        deadline = time.monotonic() + QUIET_S
        while behind:
            for message in self.client.consume(5_000, timeout=0.2):
                self._check(message)
                deadline = time.monotonic() + QUIET_S
            behind = {index for index in behind if self._position(index) < ends[index]}
            if time.monotonic() > deadline:
                where = {index: (self._position(index), ends[index]) for index in behind}
                raise Broken(f"no more records came, (position, end) of partitions: {where}")
        for index, end in ends.items():
            self.ledger.check_no_gap(index, end)

    def close(self) -> None:
        self.client.close()

    def _position(self, index: int) -> int:
        return self.ledger.partitions[index].checked_to

    def _end(self, index: int) -> int:
        partition = confluent_kafka.TopicPartition(TOPIC, index)
        deadline = time.monotonic() + QUIET_S
        while True:
            try:
                return self.client.get_watermark_offsets(partition, timeout=5)[1]
            except confluent_kafka.KafkaException:
                # Its connection died with the broker; it needs a moment to see the new one.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _check(self, message) -> None:
        if message.error():
            raise Broken(f"the reader was told: {message.error()}")
        self.ledger.check_record(message.partition(), message.offset(), message.value())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--reactor", default="auto")
    parser.add_argument("--shards", default="1,2,3", help="to choose from at each start")
    parser.add_argument("--longest-s", type=float, default=2.0, help="between start and kill")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "chaos")
    return parser.parse_args()


def one_life(broker: Broker, producers: list, reader: Reader, life_s: float) -> None:
    """From a start to the next kill: look at what is there, then let the load run."""
    for producer in producers:
        producer.paused.set()
    reader.catch_up()
    for producer in producers:
        producer.paused.clear()
    time.sleep(life_s)
    for producer in producers:
        if producer.failure:
            raise producer.failure
    if not broker.is_running():
        raise Broken("the broker ended by itself:\n" + broker.log_text()[-3_000:])


def chaos(arguments: argparse.Namespace, broker: Broker) -> Ledger:
    chance = random.Random(arguments.seed)
    shard_counts = [int(count) for count in arguments.shards.split(",")]
    ledger = Ledger(PARTITIONS)
    broker.shards = chance.choice(shard_counts)
    broker.start()
    clients.create_topic(broker.address, TOPIC, partitions=PARTITIONS)
    producers = [Producer(name, broker, ledger, arguments.seed) for name in (b"a-", b"b-")]
    reader = Reader(broker, ledger)
    for producer in producers:
        producer.start()
    for kill in range(1, arguments.kills + 1):
        one_life(broker, producers, reader, chance.uniform(0.0, arguments.longest_s))
        broker.kill()
        broker.shards = chance.choice(shard_counts)
        broker.start(timeout_s=60)
        print(f"kill {kill}: {ledger.acknowledged} acknowledged, back after "
              f"{broker.start_s:.2f} s with {broker.shards} shards", flush=True)
    finish(broker, producers, reader)
    return ledger


def finish(broker: Broker, producers: list, reader: Reader) -> None:
    """Stops the load, checks the rest, and then once more everything from the beginning."""
    for producer in producers:
        producer.finished.set()
    for producer in producers:
        producer.join(2 * QUIET_S)
        if producer.failure or len(producer.client):
            raise producer.failure or Broken(f"{len(producer.client)} records never acknowledged")
    reader.catch_up()
    once_more = Ledger(PARTITIONS)
    from_the_start = Reader(broker, once_more)
    from_the_start.catch_up()
    for before, after in zip(reader.ledger.partitions, once_more.partitions, strict=True):
        if (before.found, before.checked_to) != (after.found, after.checked_to):
            raise Broken(f"read as it grew: {before.found} records, read at the end: {after.found}")
    reader.close()
    from_the_start.close()


def main() -> None:
    arguments = parse_arguments()
    shutil.rmtree(arguments.home, ignore_errors=True)
    broker = Broker(arguments.binary, arguments.home, reactor=arguments.reactor)
    print(f"seed {arguments.seed}", flush=True)
    try:
        ledger = chaos(arguments, broker)
        code = broker.stop()
        if code != 0:
            raise Broken(f"exit code {code} after SIGTERM")
    except (Broken, DidNotStart, confluent_kafka.KafkaException) as broken:
        broker.kill()
        print(f"after seed {arguments.seed}: {broken}\ndata and log stay in {arguments.home}")
        print("0 passed, 1 failed")
        sys.exit(1)
    found = sum(partition.found for partition in ledger.partitions)
    print(f"{arguments.kills} kills: {ledger.acknowledged} acknowledged records, {found} found, "
          "each once, in order, at its offset")
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
