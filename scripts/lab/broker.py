"""A broker under test: one Spate process with its data, its log and its numbers.

It is started, killed and started again by the tests; it never outlives them. `Elsewhere` stands
for a broker that somebody else started, such as a real Kafka: it only has an address."""

import os
import random
import re
import select
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

START_S = 20
STOP_S = 10
COMPLAINT = re.compile(r"\b(WARN|ERROR)\b")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class DidNotStart(Exception):
    """The process ended, or said nothing, before it was ready. Carries what it printed."""


class Elsewhere:
    """A broker that runs already."""

    def __init__(self, address: str):
        self.address = address

    @property
    def endpoint(self) -> tuple[str, int]:
        host, port = self.address.rsplit(":", 1)
        return host, int(port)


class Broker(Elsewhere):
    """One data directory and, most of the time, the process that serves it."""

    def __init__(self, binary: Path, home: Path, *, reactor="auto", shards=None, settings=None,
                 prefix=()):
        super().__init__(f"127.0.0.1:{free_ports()}")
        self.binary = binary
        self.data = home / "data"
        self.log = home / "broker.log"
        self.reactor = reactor
        self.shards = shards
        # Brokers stand beside each other: one that is to be scraped says where.
        self.settings = {"metrics.listen": ""} | (settings or {})
        self.prefix = list(prefix)
        self.process = None
        self.start_s = None

    def command(self) -> list[str]:
        command = [*self.prefix, str(self.binary), "serve", "--listen", self.address]
        command += ["--data", str(self.data), "--reactor", self.reactor]
        if self.shards is not None:
            command += ["--shards", str(self.shards)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def start(self, timeout_s=START_S) -> "Broker":
        """Returns when the broker has said that it is ready."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        # Settings of whoever runs the tests are not part of them.
        ours = {name: value for name, value in os.environ.items()
                if not name.startswith(("SPATE_", "RUST_LOG"))}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, env=ours)
        self._wait_for_ready(started + timeout_s)
        self.start_s = time.monotonic() - started
        return self

    def _wait_for_ready(self, deadline: float):
        said = b""
        out = self.process.stdout.fileno()
        while not re.search(rb"^ready", said, re.MULTILINE):
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([out], [], [], left)[0]
            chunk = os.read(out, 4096) if readable else b""
            if not chunk:
                self.kill()
                raise DidNotStart(said.decode(errors="replace") + self.log_text())
            said += chunk

    def kill(self) -> None:
        """kill -9: what has not reached the disk by now never does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(STOP_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def restart(self, **changes) -> "Broker":
        """kill -9 and start again, with other attributes (`shards=3`) where given."""
        self.kill()
        for name, value in changes.items():
            setattr(self, name, value)
        return self.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_text(self) -> str:
        return COLOUR.sub("", self.log.read_text(errors="replace")) if self.log.exists() else ""

    def complaints(self) -> list[str]:
        return [line for line in self.log_text().splitlines() if COMPLAINT.search(line)]

    def resident_bytes(self) -> int:
        return int(_field(self.pid, "VmRSS").split()[0]) * 1024

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def cli(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess:
        """Runs another verb of the binary, such as `topic list`, against this broker."""
        command = [str(self.binary), *arguments, "--broker", self.address]
        return subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)

    def statistics(self) -> str:
        """What `spate stats` says of the process that serves this data directory."""
        command = [str(self.binary), "stats", "--data", str(self.data)]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return (done.stdout + done.stderr).decode(errors="replace")


def free_ports(count: int = 1) -> int:
    """The first of so many neighbouring free ports. They lie below those that the kernel gives to
    anyone who connects, or a client's could take one before the broker is up (again)."""
    for _ in range(100):
        first = random.randrange(16_000, 32_000)
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} neighbouring free ports between 16000 and 32000")


def cpu_s(pid: int) -> float:
    """User and system time of all threads so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise KeyError(name)
