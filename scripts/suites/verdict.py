"""Compares what each test of a suite did here with what it does on a real Kafka, and prints a
table. Knows nothing of any one suite."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, SKIPPED, TIMEOUT, MISSING = "PASSED", "FAILED", "SKIPPED", "TIMEOUT", "MISSING"


@dataclass(frozen=True)
class Outcome:
    """What one test did."""

    name: str
    result: str
    seconds: float = 0.0
    said: str = ""


class Expected:
    """A suite's TOML file: `kafka` maps each test to its result on a real Kafka, `exceptions` lists
    the tests that may differ here, with the reason."""

    def __init__(self, path: Path):
        content = tomllib.loads(path.read_text())
        self.short = content.get("short", [])
        # Parts of tests that are also run alone, as the whole fails for the sake of another part.
        self.parts = content.get("parts", [])
        self.kafka = content["kafka"]
        self.reasons = {name: entry["reason"] for entry in content.get("exceptions", [])
                        for name in entry["tests"]}
        unknown = set(self.reasons) - set(self.kafka)
        if unknown:
            raise SystemExit(f"{path} excepts tests that it does not know: {sorted(unknown)}")

    def key(self, name: str) -> str:
        """The list's name of a test: one that fails early gives only its number."""
        if "/" in name:
            return name
        alike = [key for key in self.kafka if key.startswith(name) or name.startswith(key + "_")]
        return name if name in self.kafka or not alike else alike[0]

    def judge(self, outcome: Outcome) -> tuple[bool, str]:
        """Whether this outcome is as it should be, and what to say about it."""
        key = self.key(outcome.name)
        on_kafka, reason = self.kafka.get(key), self.reasons.get(key)
        if on_kafka is None:
            return False, "not in the list: add what a real Kafka gets"
        if outcome.result == on_kafka:
            return (True, "same") if reason is None else (False, "excepted, but it is the same now")
        if reason is not None:
            return True, reason
        if on_kafka != PASSED:
            return True, f"{on_kafka} on Kafka"
        return False, f"DIFFERS: {outcome.said}"


def table(expected: Expected, outcomes: list[Outcome]) -> bool:
    """Prints a line per test and the sum in the form that scripts/test counts; whether all are as
    they should be."""
    good = 0
    for outcome in outcomes:
        fine, why = expected.judge(outcome)
        good += fine
        on_kafka = expected.kafka.get(expected.key(outcome.name), "?")
        print(f"{outcome.name:48} kafka {on_kafka:8} spate {outcome.result:8}"
              f"{outcome.seconds:7.1f} s  {why}")
    passed = sum(outcome.result == PASSED for outcome in outcomes)
    print(f"{passed} of {len(outcomes)} PASSED; as they should be: {good} passed, "
          f"{len(outcomes) - good} failed in all")
    return good == len(outcomes)
