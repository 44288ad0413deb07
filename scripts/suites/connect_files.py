"""A Kafka Connect of two distributed workers, with a file as source and a file as sink: a group of
a protocol type of its own, three compacted topics, and consumers and producers for each task."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from lab import clients
from lab.broker import free_ports
from suites.java_program import JARS, Failed, JavaProgram, until

START_S = 90
# Longer than a session, a rebalance and the delay before a dead worker's tasks go to another.
PATIENCE_S = 60
TOPIC = "lines"
SETTINGS = """\
bootstrap.servers={address}
group.id=connect
listeners=http://127.0.0.1:{port}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=5
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=3
offset.flush.interval.ms=1000
session.timeout.ms=10000
heartbeat.interval.ms=1000
scheduled.rebalance.max.delay.ms=2000
plugin.path={plugins}
plugin.discovery=service_load
consumer.session.timeout.ms=10000
"""


class Worker(JavaProgram):
    """A worker and its REST interface."""

    def __init__(self, broker, folder: Path, number: int):
        self.port = free_ports()
        settings = folder / f"worker-{number}.properties"
        plugins = JARS / "connect-file-4.3.0.jar"
        settings.write_text(SETTINGS.format(address=broker.address, port=self.port,
                                            plugins=plugins))
        super().__init__(f"worker-{number}", folder / f"worker-{number}.log",
                         "org.apache.kafka.connect.cli.ConnectDistributed", str(settings))

    def ask(self, method: str, path: str, body=None):
        """What the worker answers; none while it cannot."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                said = answer.read()
                return json.loads(said) if said else {}
        except urllib.error.HTTPError as error:
            # 404: not known yet; 409: it rebalances; 5xx: no leader yet, or the broker is away.
            if error.code in (404, 409) or error.code >= 500:
                return None
            raise Failed(f"{method} {path}: {error.code} {error.read().decode()}") from error
        except OSError:
            return None

    def insist(self, method: str, path: str, body=None):
        return until(f"{method} {path}", lambda: [self.ask(method, path, body)] if self.is_running()
                     and self.ask("GET", "/connectors") is not None else None, START_S)[0]


class World:
    """The files, the workers, and what must be in the sink."""

    def __init__(self, broker, folder: Path, started: list):
        self.broker = broker
        self.folder = folder
        self.started = started
        self.source = folder / "source.txt"
        self.sink = folder / "sink.txt"
        self.lines = []

    def worker(self, number: int) -> Worker:
        worker = Worker(self.broker, self.folder, number)
        self.started.append(worker)
        until(f"{worker.name} answers", lambda: worker.ask("GET", "/connectors") is not None,
              START_S)
        return worker

    def write(self, count: int) -> None:
        first = len(self.lines)
        new = [f"line {number}" for number in range(first, first + count)]
        with open(self.source, "a") as file:
            file.write("".join(line + "\n" for line in new))
        self.lines += new

    def sunk(self) -> list[str]:
        return self.sink.read_text().splitlines() if self.sink.exists() else []

    def arrive(self, is_exact: bool) -> None:
        """Every line comes through; each once and in order where nothing died."""
        last = self.lines[-1]
        until(f"'{last}' arrives", lambda: last in self.sunk()[-100:], PATIENCE_S)
        sunk = self.sunk()
        if is_exact and sunk != self.lines:
            raise Failed(f"{len(sunk)} lines arrived of {len(self.lines)}")
        missing = set(self.lines) - set(sunk)
        if missing:
            raise Failed(f"{len(missing)} lines are missing, such as '{min(missing)}'")

    def create(self, worker: Worker) -> None:
        settings = {
            "source": {"connector.class": "FileStreamSource", "file": str(self.source),
                       "topic": TOPIC, "tasks.max": "1"},
            "sink": {"connector.class": "FileStreamSink", "file": str(self.sink),
                     "topics": TOPIC, "tasks.max": "1"},
        }
        for name, config in settings.items():
            made = until(f"{name} is created", lambda name=name, config=config:
                         worker.ask("PUT", f"/connectors/{name}/config", config), START_S)
            if made["name"] != name:
                raise Failed(f"a connector {name} was created as {made}")

    def running(self, worker: Worker) -> set[str]:
        """Returns when all runs; the workers that do it."""
        found = set()

        def look() -> bool:
            found.clear()
            for name in ("source", "sink"):
                status = worker.ask("GET", f"/connectors/{name}/status")
                if not status or not status["tasks"]:
                    return False
                for part in (status["connector"], *status["tasks"]):
                    if part["state"] != "RUNNING":
                        return False
                    found.add(part["worker_id"])
            return True

        until("source and sink run", look, PATIENCE_S)
        return found


def files(broker, folder: Path, started: list) -> str:
    """A worker alone: lines arrive, and go on after an orderly end of the worker."""
    clients.create_topic(broker.address, TOPIC)
    world = World(broker, folder, started)
    world.write(500)
    worker = world.worker(1)
    world.create(worker)
    world.arrive(is_exact=True)
    worker.end()
    world.write(500)
    worker = world.worker(2)
    world.running(worker)
    world.arrive(is_exact=True)
    return f"{len(world.lines):,} lines, each once"


def workers_die(broker, folder: Path, started: list) -> str:
    """Two workers share; one dies by kill -9, then the broker does."""
    clients.create_topic(broker.address, TOPIC)
    world = World(broker, folder, started)
    world.write(500)
    first = world.worker(1)
    world.create(first)
    second = world.worker(2)
    until("both workers have something", lambda: len(world.running(second)) == 2, PATIENCE_S)
    world.write(500)
    world.arrive(is_exact=True)
    first.kill()
    world.write(500)
    survivor = f"127.0.0.1:{second.port}"
    until("the survivor has all", lambda: world.running(second) == {survivor}, PATIENCE_S)
    world.arrive(is_exact=False)
    broker.restart()
    world.write(500)
    world.arrive(is_exact=False)
    world.running(second)
    twice = len(world.sunk()) - len(world.lines)
    return f"{len(world.lines):,} lines, {twice} twice; a worker and the broker killed"


def offsets(broker, folder: Path, started: list) -> str:
    """Offsets of stopped connectors are told, moved and reset (KIP-875)."""
    clients.create_topic(broker.address, TOPIC)
    world = World(broker, folder, started)
    world.write(100)
    worker = world.worker(1)
    world.create(worker)
    world.arrive(is_exact=True)

    def stop(name: str) -> None:
        worker.insist("PUT", f"/connectors/{name}/stop")
        until(f"{name} is stopped", lambda: (worker.ask("GET", f"/connectors/{name}/status") or {})
              .get("connector", {}).get("state") == "STOPPED", PATIENCE_S)

    stop("sink")
    place = {"kafka_topic": TOPIC, "kafka_partition": 0}
    told = worker.insist("GET", "/connectors/sink/offsets")
    if told["offsets"] != [{"partition": place, "offset": {"kafka_offset": 100}}]:
        raise Failed(f"the sink's offsets are told as {told}")
    moved = {"offsets": [{"partition": place, "offset": {"kafka_offset": 90}}]}
    worker.insist("PATCH", "/connectors/sink/offsets", moved)
    worker.insist("PUT", "/connectors/sink/resume")
    world.running(worker)
    until("ten lines come again", lambda: world.sunk() == world.lines + world.lines[90:],
          PATIENCE_S)
    stop("source")
    worker.insist("DELETE", "/connectors/source/offsets")
    if worker.insist("GET", "/connectors/source/offsets")["offsets"]:
        raise Failed("the source's offsets are still there after they were reset")
    worker.insist("PUT", "/connectors/source/resume")
    until("all lines come again", lambda: world.sunk()[110:] == world.lines, PATIENCE_S)
    for name in ("source", "sink"):
        worker.insist("DELETE", f"/connectors/{name}")
    until("none is left", lambda: worker.ask("GET", "/connectors") == [], PATIENCE_S)
    return "told, moved and reset"


CASES = {
    "connect files": files,
    "connect workers die": workers_die,
    "connect offsets": offsets,
}
