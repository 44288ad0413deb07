"""Runs librdkafka's test-runner, every test in a process of its own and bounded in time; see the
script `librdkafka` beside this file. Must never leave a broker or a test behind."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from conformance.brokers import known_settings
from lab import PEERS, ROOT, SCRIPTS
from lab.broker import Broker, Elsewhere
from suites.verdict import FAILED, MISSING, TIMEOUT, Expected, Outcome, table

RUNNER = PEERS / "librdkafka" / "tests-build" / "tests"
LOGS = ROOT / "target" / "suites" / "librdkafka"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# `| 0001_multiobj   |     PASSED |   1.362s | why`
ROW = re.compile(r"^\| +(\w+) +\| +([A-Z]+) +\| +([0-9.]+)s *\|(.*)")
# What these tests assume of a broker (their own cluster tool sets the same).
SETTINGS = {"num.partitions": 4, "group.initial.rebalance.delay.ms": 0}

# Tests call Kafka's shell tools by name.
TOOLS = {"kafka-topics.sh": "topics", "kafka-configs.sh": "configs", "kafka-acls.sh":
         "org.apache.kafka.tools.AclCommand"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/suites/librdkafka", description=__doc__)
    parser.add_argument("tests", nargs="*", help="numbers, as in 0081")
    parser.add_argument("--short", action="store_true", help="the tests that scripts/test runs")
    parser.add_argument("--broker", help="HOST:PORT of a broker that runs already")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--jobs", type=int, default=1, help="tests at a time; many only wait")
    parser.add_argument("--timeout-s", type=float, default=240, help="for one test")
    return parser.parse_args()


def write_tools() -> Path:
    """A folder that looks like Kafka's, for the tests that call its scripts."""
    folder = LOGS / "kafka"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for script, tool in TOOLS.items():
        path = folder / "bin" / script
        path.write_text(f'#!/bin/sh\nexec "{SCRIPTS}/peers/kafka" tool {tool} "$@"\n')
        path.chmod(0o755)
    return folder


def run(number: str, broker: Elsewhere, kafka: Path, timeout_s: float) -> list[Outcome]:
    """All outcomes of one test file: most have one, some several. `0081/do_test_ListOffsets` is a
    part of one."""
    number, _, part = number.partition("/")
    log = LOGS / f"{number}{'-' if part else ''}{part}.log"
    surroundings = os.environ | {
        "TESTS": number, "CI": "true", "BROKERS": broker.address, "KAFKA_PATH": str(kafka),
        "TEST_KAFKA_VERSION": "4.3.0", "RDKAFKA_TEST_CONF": str(LOGS / "test.conf"),
        "LD_LIBRARY_PATH": f"{RUNNER.parent}/src:{RUNNER.parent}/src-cpp"}
    if part:
        surroundings["SUBTESTS"] = part
    started = time.monotonic()
    with open(log, "wb") as out:
        # One test at a time (-p1), quick (-Q), only those that need a broker (-L).
        process = subprocess.Popen(["./test-runner", "-p1", "-Q", "-L"], cwd=RUNNER, stdout=out,
                                   stderr=out, stdin=subprocess.DEVNULL, env=surroundings)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    seconds = time.monotonic() - started
    outcomes = read_rows(number, log)
    if part and outcomes:
        # A part that the file does not have passes like one that has nothing to do.
        found = part in log.read_text(errors="replace")
        return [replace(outcomes[0], name=f"{outcomes[0].name}/{part}",
                        result=outcomes[0].result if found else MISSING)]
    if outcomes:
        return outcomes
    result = TIMEOUT if seconds >= timeout_s else FAILED if process.returncode else MISSING
    return [] if result == MISSING else [Outcome(number, result, seconds, why(log))]


def read_rows(number: str, log: Path) -> list[Outcome]:
    text = COLOUR.sub("", log.read_text(errors="replace"))
    rows = filter(None, map(ROW.match, text.splitlines()))
    # A test that runs alone is listed with all others, which were filtered out.
    return [Outcome(row[1], row[2], float(row[3]), row[4].strip()[:160] or why(log))
            for row in rows
            if row[1].startswith(number) and "Filtered due to negative" not in row[4]]


def why(log: Path) -> str:
    """The line after the heading of the test's failure."""
    text = COLOUR.sub("", log.read_text(errors="replace"))
    found = re.search(r"^### Test .*\n(.*)", text, re.MULTILINE)
    return found[1].strip()[:160] if found else ""


def numbers() -> list[str]:
    # 8000 and above are tools for people, not tests.
    return sorted({path.name[:4] for path in RUNNER.glob("0[0-9]*.c*")})


def run_all(arguments: argparse.Namespace, broker: Elsewhere, chosen: list[str]) -> list[Outcome]:
    (LOGS / "test.conf").write_text(
        f"bootstrap.servers={broker.address}\ntest.topic.random=true\n")
    kafka = write_tools()
    outcomes = defaultdict(list)

    def one(number: str) -> None:
        outcomes[number] = run(number, broker, kafka, arguments.timeout_s)
        for outcome in outcomes[number]:
            print(f"{outcome.result:8} {outcome.name}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, chosen))
    return [outcome for number in chosen for outcome in outcomes[number]]


def main() -> int:
    arguments = parse_arguments()
    LOGS.mkdir(parents=True, exist_ok=True)
    expected = Expected(Path(__file__).with_name("librdkafka.toml"))
    chosen = arguments.tests or (expected.short if arguments.short else numbers())
    parts = [part for part in expected.parts if part.partition("/")[0] in chosen]
    chosen = [*chosen, *parts]
    if arguments.broker:
        outcomes = run_all(arguments, Elsewhere(arguments.broker), chosen)
        return 0 if table(expected, outcomes) else 1
    with tempfile.TemporaryDirectory(prefix="spate-librdkafka-") as home:
        settings = known_settings(arguments.binary, SETTINGS)
        broker = Broker(arguments.binary, Path(home), settings=settings).start()
        try:
            outcomes = run_all(arguments, broker, chosen)
        finally:
            broker.stop()
            (LOGS / "broker.log").write_text(broker.log_text())
    return 0 if table(expected, outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
