"""Unmodified Kafka clients, each with two verbs over files of lines:

    produce   every line of a file becomes a record of partition 0, in order
    consume   partition 0 from its beginning, one record a line, until COUNT records came

Programs run as programs, libraries inside this process. A client that fails raises `Failed` with
what it said."""

import subprocess
import time
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import kafka

from lab import PEERS, SCRIPTS, wire

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KAFKA = SCRIPTS / "peers" / "kafka"
RDKAFKA_PERFORMANCE = PEERS / "librdkafka" / "src" / "examples" / "rdkafka_performance"
CLIENT_S = 900


class Failed(Exception):
    """A client gave up."""


def run(command: list, *, given=None, into=subprocess.PIPE, timeout_s=CLIENT_S) -> bytes:
    """Runs a program to its end; what it printed."""
    done = subprocess.run([str(part) for part in command], stdin=given or subprocess.DEVNULL,
                          stdout=into, stderr=subprocess.PIPE, timeout=timeout_s, check=False)
    if done.returncode != 0:
        said = (done.stdout or b"")[-2000:] + done.stderr[-4000:]
        raise Failed(f"{command[0]} exited {done.returncode}: {said.decode(errors='replace')}")
    return done.stdout


class Kcat:
    """Debian's kcat, with a librdkafka of 2022."""

    name = "kcat"

    def produce(self, broker: str, topic: str, path: Path, codec="none") -> None:
        run(["kcat", "-P", "-b", broker, "-t", topic, "-p", "0", "-z", codec, "-l", path,
             "-X", "enable.idempotence=true"])

    def consume(self, broker: str, topic: str, count: int, path: Path) -> None:
        with open(path, "wb") as out:
            run(["kcat", "-C", "-q", "-b", broker, "-t", topic, "-p", "0", "-o", "beginning",
                 "-c", str(count)], into=out)


class KafkaPython:
    """The pure Python client: its own protocol code, and codecs from other libraries."""

    name = "kafka-python"

    def produce(self, broker: str, topic: str, path: Path, codec="none") -> None:
        # It queues far faster than it compresses: by default batches would expire in its own queue.
        producer = kafka.KafkaProducer(bootstrap_servers=broker, linger_ms=5, acks="all",
                                       delivery_timeout_ms=CLIENT_S * 1_000,
                                       compression_type=None if codec == "none" else codec)
        with open(path, "rb") as lines:
            sent = [producer.send(topic, line[:-1], partition=0) for line in lines]
        producer.flush(CLIENT_S)
        offsets = [future.get(timeout=1).offset for future in sent]
        producer.close()
        if offsets != list(range(offsets[0], offsets[0] + len(offsets))):
            raise Failed("kafka-python was told offsets with gaps or out of order")

    def consume(self, broker: str, topic: str, count: int, path: Path) -> None:
        consumer = kafka.KafkaConsumer(bootstrap_servers=broker, group_id=None,
                                       auto_offset_reset="earliest", consumer_timeout_ms=20_000)
        consumer.assign([kafka.TopicPartition(topic, 0)])
        came = 0
        with open(path, "wb") as out:
            for record in consumer:
                out.write(record.value + b"\n")
                came += 1
                if came == count:
                    break
        consumer.close()
        if came != count:
            raise Failed(f"kafka-python saw {came} of {count} records and then none for 20 s")


class Confluent:
    """confluent-kafka: the newest librdkafka."""

    name = "confluent-kafka"

    def produce(self, broker: str, topic: str, path: Path, codec="none") -> None:
        failures = []
        producer = confluent_kafka.Producer({
            "bootstrap.servers": broker, "compression.codec": codec, "enable.idempotence": True,
            "linger.ms": 5, "queue.buffering.max.kbytes": 262_144,
            "on_delivery": lambda error, _: failures.append(error) if error else None})
        with open(path, "rb") as lines:
            for line in lines:
                self._send(producer, topic, line[:-1])
        left = producer.flush(CLIENT_S)
        if left or failures:
            raise Failed(f"{left} records undelivered, {len(failures)} failed: {failures[:1]}")

    @staticmethod
    def _send(producer, topic: str, value: bytes) -> None:
        while True:
            try:
                producer.produce(topic, value, partition=0)
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.1)

    def consume(self, broker: str, topic: str, count: int, path: Path) -> None:
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker, "group.id": "nobody", "enable.auto.commit": False})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        came = 0
        with open(path, "wb") as out:
            while came < count:
                messages = consumer.consume(min(10_000, count - came), timeout=20)
                if not messages:
                    raise Failed(f"confluent-kafka saw {came} of {count}, then none for 20 s")
                came += self._write(messages, out)
        consumer.close()

    @staticmethod
    def _write(messages, out) -> int:
        for message in messages:
            if message.error():
                raise Failed(str(message.error()))
            out.write(message.value() + b"\n")
        return len(messages)


class JavaConsole:
    """Kafka's console tools: the Java producer (idempotent, its default) and consumer."""

    name = "java"

    def produce(self, broker: str, topic: str, path: Path, codec="none") -> None:
        with open(path, "rb") as lines:
            run([KAFKA, "tool", "console-producer", "--bootstrap-server", broker, "--topic",
                 topic, "--compression-codec", codec], given=lines)

    def consume(self, broker: str, topic: str, count: int, path: Path) -> None:
        with open(path, "wb") as out:
            run([KAFKA, "tool", "console-consumer", "--bootstrap-server", broker, "--topic",
                 topic, "--partition", "0", "--offset", "earliest", "--max-messages", str(count),
                 "--timeout-ms", "20000"], into=out)


class SpateCli:
    """Our own `spate produce` and `spate consume`; they work against any Kafka."""

    name = "spate"

    def __init__(self, binary: Path):
        self.binary = binary

    def produce(self, broker: str, topic: str, path: Path, codec="none") -> None:
        with open(path, "rb") as lines:
            run([self.binary, "produce", topic, "-z", codec, "--broker", broker], given=lines)

    def consume(self, broker: str, topic: str, count: int, path: Path) -> None:
        with open(path, "wb") as out:
            run([self.binary, "consume", topic, "--from", "beginning", "-n", str(count),
                 "--broker", broker], into=out)


def java_tool(name: str, *arguments: str) -> str:
    """What one of Kafka's command-line tools prints."""
    return run([KAFKA, "tool", name, *arguments], timeout_s=120).decode()


def create_topic(broker: str, topic: str, partitions=1, **config) -> None:
    """By confluent's admin client; `config` keys have underscores for dots. Returns when every
    partition answers: Kafka's are created a little later than it says."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker})
    keys = {key.replace("_", "."): str(value) for key, value in config.items()}
    new = confluent_kafka.admin.NewTopic(topic, partitions, 1, config=keys)
    admin.create_topics([new])[topic].result(30)
    host, port = broker.rsplit(":", 1)
    with wire.Connection((host, int(port))) as connection:
        deadline = time.monotonic() + 10
        while any(error for error, _, _ in connection.fetch(
                topic, partitions=range(partitions), max_wait_ms=0)):
            if time.monotonic() > deadline:
                raise Failed(f"{topic} was created and still does not answer")
            time.sleep(0.02)
