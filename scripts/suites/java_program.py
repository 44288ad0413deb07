"""One Java program of the Streams and Connect jars as a process: its output in a file, ended with
the case that started it."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from lab import ROOT

HOME = ROOT / "target" / "suites" / "streams-connect"
JARS = HOME / "jars"
# Small and quick to start: up to four run beside the broker.
FLAGS = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
logger.tests.name=org.apache.kafka.streams.tests
logger.tests.level=INFO
"""
STOP_S = 60


class Failed(Exception):
    """A case did not go as it must."""


class JavaProgram:
    """A class with a `main` that runs."""

    def __init__(self, name: str, log: Path, main_class: str, *arguments: str):
        self.name = name
        self.log = log
        config = log.parent / "log4j2.properties"
        config.write_text(LOGGING)
        command = ["java", *FLAGS, f"-Dlog4j2.configurationFile={config}", "-cp", f"{JARS}/*",
                   main_class, *arguments]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, cwd=log.parent)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def await_text(self, text: str, timeout_s: float) -> None:
        """Returns when it has said this."""
        def look() -> bool:
            if not self.is_running() and text not in self.text():
                raise Failed(f"{self.name} ended before it said '{text}': {self.log}")
            return text in self.text()

        until(f"{self.name} says '{text}'", look, timeout_s)

    def end(self) -> int:
        """SIGTERM, upon which it closes its clients; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end within {STOP_S} s") from None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its own end; the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end within {timeout_s:.0f} s") from None


def until(what: str, condition, timeout_s: float):
    """The first thing that `condition` gives."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.1)
