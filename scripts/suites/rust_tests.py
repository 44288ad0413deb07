"""Runs the test programs of the crate rdkafka, every test in a process of its own and bounded in
time; see the script `rust-rdkafka` beside this file."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conformance.brokers import known_settings
from lab import PEERS, ROOT
from lab.broker import Broker, Elsewhere
from suites.verdict import FAILED, PASSED, TIMEOUT, Expected, Outcome, table

BINARIES = PEERS / "rust-rdkafka" / "binaries"
LOGS = ROOT / "target" / "suites" / "rust-rdkafka"
# What its docker-compose.yaml sets.
SETTINGS = {"num.partitions": 3, "group.initial.rebalance.delay.ms": 0}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/suites/rust-rdkafka", description=__doc__)
    parser.add_argument("files", nargs="*", help="as in test_metadata")
    parser.add_argument("--broker", help="HOST:PORT of a broker that runs already")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--timeout-s", type=float, default=120, help="for one test")
    return parser.parse_args()


def tests_of(program: str) -> list[str]:
    listed = subprocess.run([program, "--list", "--format", "terse"], capture_output=True,
                            check=True, timeout=60).stdout.decode()
    return [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]


def run(file: str, program: str, test: str, broker: Elsewhere, timeout_s: float) -> Outcome:
    name = f"{file}::{test}"
    log = LOGS / f"{name.replace('::', '-')}.log"
    surroundings = os.environ | {"KAFKA_HOST": broker.address, "KAFKA_VERSION": "4.3.0"}
    started = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen([program, "--exact", test], stdout=out, stderr=out,
                                   stdin=subprocess.DEVNULL, env=surroundings)
        try:
            result = FAILED if process.wait(timeout_s) else PASSED
        except subprocess.TimeoutExpired:
            result = TIMEOUT
        finally:
            process.kill()
            process.wait()
    return Outcome(name, result, time.monotonic() - started, why(log) if result != PASSED else "")


def why(log: Path) -> str:
    """What the panic said."""
    lines = log.read_text(errors="replace").splitlines()
    at = next((place for place, line in enumerate(lines) if " panicked at " in line), None)
    return " ".join(lines[at:at + 2])[-200:] if at is not None else ""


def run_all(arguments: argparse.Namespace, broker: Elsewhere) -> list[Outcome]:
    outcomes = []
    for line in BINARIES.read_text().splitlines():
        file, program = line.split(" ", 1)
        if arguments.files and file not in arguments.files:
            continue
        for test in tests_of(program):
            outcomes.append(run(file, program, test, broker, arguments.timeout_s))
            print(f"{outcomes[-1].result:8} {outcomes[-1].name}", file=sys.stderr, flush=True)
    return outcomes


def main() -> int:
    arguments = parse_arguments()
    LOGS.mkdir(parents=True, exist_ok=True)
    expected = Expected(Path(__file__).with_name("rust-rdkafka.toml"))
    if arguments.broker:
        return 0 if table(expected, run_all(arguments, Elsewhere(arguments.broker))) else 1
    with tempfile.TemporaryDirectory(prefix="spate-rust-rdkafka-") as home:
        settings = known_settings(arguments.binary, SETTINGS)
        broker = Broker(arguments.binary, Path(home), settings=settings).start()
        try:
            outcomes = run_all(arguments, broker)
        finally:
            broker.stop()
            (LOGS / "broker.log").write_text(broker.log_text())
    return 0 if table(expected, outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
