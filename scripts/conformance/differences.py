"""The differences that are meant: `differences.toml` beside this file, each with its reason."""

import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.schema import Versions

FILE = Path(__file__).with_suffix(".toml")
KEYS = {"api", "versions", "case", "path", "kafka", "spate", "reason"}


@dataclass(frozen=True)
class Difference:
    """One leaf of one answer that the two brokers give differently."""

    api: str
    version: int
    case: str
    path: str
    kafka: object
    spate: object


@dataclass
class Justified:
    """A pattern of differences, and why they are right. Patterns are the shell's."""

    api: str
    reason: str
    versions: Versions
    case: str = "*"
    path: str = "*"
    kafka: str = "*"
    spate: str = "*"
    used: int = field(default=0)

    def covers(self, one: Difference) -> bool:
        return (fnmatchcase(one.api, self.api) and one.version in self.versions
                and matches(one.case, self.case) and matches(one.path, self.path)
                and matches(str(one.kafka), self.kafka) and matches(str(one.spate), self.spate))


def matches(text: str, pattern: str) -> bool:
    # Brackets mark array elements in paths, and are no sets of letters.
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def load() -> list[Justified]:
    found = []
    for entry in tomllib.loads(FILE.read_text()).get("difference", []):
        if set(entry) - KEYS or not {"api", "reason"} <= set(entry):
            raise SystemExit(f"{FILE}: an entry needs api and reason, and knows {KEYS}: {entry}")
        versions = Versions.parse(entry.pop("versions", "0+"))
        found.append(Justified(**entry, versions=versions))
    return found


def unjustified(found: list[Difference], meant: list[Justified]) -> list[Difference]:
    left = []
    for one in found:
        covering = [entry for entry in meant if entry.covers(one)]
        for entry in covering:
            entry.used += 1
        if not covering:
            left.append(one)
    return left
