"""The two brokers to be compared: started afresh on free ports unless one is told to be elsewhere,
and ended with the comparison."""

import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from lab import SCRIPTS
from lab.broker import Broker, free_ports

KAFKA = SCRIPTS / "peers" / "kafka"
# The same on both, or answers would differ for no fault of anyone. Loading groups and rebalancing
# at once keep cases short; a fourth id makes a wrong partition number easy to tell.
SETTINGS = {"num.partitions": "4", "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "6000"}
START_S = 120


@contextmanager
def kafka(address: str | None):
    """The address of a real Kafka."""
    if address:
        yield address
        return
    port = free_ports(2)  # its controller takes the next
    start = [KAFKA, "start", str(port), *(f"{key}={value}" for key, value in SETTINGS.items())]
    surroundings = os.environ | {"KAFKA_HEAP": "-Xmx512m"}
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, timeout=START_S, env=surroundings)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([KAFKA, "stop", str(port)], check=False, timeout=START_S)


@contextmanager
def spate(address: str | None, binary: Path):
    """The address of a Spate."""
    if address:
        yield address
        return
    with tempfile.TemporaryDirectory(prefix="spate-conformance-") as home:
        settings = known_settings(binary, SETTINGS)
        broker = Broker(binary, Path(home), settings=settings, shards=2).start()
        try:
            yield broker.address
        finally:
            broker.stop()
            panics = re.findall(r".*panicked at.*", broker.log_text())
            if panics:
                raise SystemExit(f"Spate panicked under these requests: {panics[0]}")


def known_settings(binary: Path, wanted: dict) -> dict:
    """Those that this build of Spate has: it refuses to start with any other."""
    listed = subprocess.run([binary, "config"], capture_output=True, check=True, timeout=30)
    return {key: value for key, value in wanted.items() if key in listed.stdout.decode()}
