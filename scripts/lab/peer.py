"""A real Kafka of this checkout, started, killed and started again as `Broker` is with Spate, so
that one piece of code can drive either."""

import os
import signal
import subprocess
import time
from pathlib import Path

from lab import SCRIPTS
from lab.broker import Elsewhere, cpu_s, free_ports

SCRIPT = SCRIPTS / "peers" / "kafka"
START_S = 120


class Kafka(Elsewhere):
    """A Kafka on a free port. Its controller listens on the next."""

    def __init__(self, settings: dict | None = None, heap: str | None = None):
        self.port = free_ports(2)
        super().__init__(f"127.0.0.1:{self.port}")
        self.settings = [f"{key}={value}" for key, value in (settings or {}).items()]
        self.surroundings = os.environ | ({"KAFKA_HEAP": heap} if heap else {})
        self.pid = None

    def _run(self, verb: str, *more: str) -> str:
        done = subprocess.run([SCRIPT, verb, str(self.port), *more], check=True, text=True,
                              capture_output=True, timeout=START_S, env=self.surroundings)
        return done.stdout.strip()

    def start(self) -> "Kafka":
        """With nothing in it the first time, later with what it had."""
        said = self._run("resume") if self.pid else self._run("start", *self.settings)
        self.pid = int(said)
        return self

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        while Path(f"/proc/{self.pid}").exists():
            time.sleep(0.01)

    def restart(self) -> "Kafka":
        """kill -9 and start again."""
        self.kill()
        return self.start()

    def stop(self) -> None:
        """Ends it and removes its data."""
        if self.pid is not None:
            self._run("stop")

    def cpu_s(self) -> float:
        return cpu_s(self.pid)
