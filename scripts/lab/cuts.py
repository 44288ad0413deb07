"""Every kind of power cut in turn, and one table: `scripts/powercut --all`.

Each kind is a run of its own, with its own seed; what it printed stays in a file beside the data,
and so does the data of one that failed. The last row is the other way round: a debug build that
leaves the flushes out must be caught by the rebuilt images."""

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab import SCRIPTS

# A run that hangs has failed: so long for each cut, and for what comes before and after.
CUT_S, RUN_S = 60, 600


@dataclass(frozen=True)
class Kind:
    """What is run, and how often it cuts for each cut asked for."""

    title: str
    module: str
    options: tuple[str, ...]
    times: int = 1
    must_fail: bool = False


KINDS = [
    Kind("ioctl, ext4", "powercut", ("--how", "ioctl", "--fs", "ext4")),
    Kind("ioctl, xfs", "powercut", ("--how", "ioctl", "--fs", "xfs")),
    Kind("rebuilt images, ext4", "powercut", ("--how", "rebuild", "--fs", "ext4")),
    Kind("rebuilt images, xfs", "powercut", ("--how", "rebuild", "--fs", "xfs")),
    Kind("kill -9, throttled disk", "powercut", ("--how", "throttle", "--fs", "ext4"), 2),
    Kind("kill -9", "chaos", (), 2),
    Kind("rebuilt, without flushes", "powercut",
         ("--how", "rebuild", "--fs", "ext4", "--without-dsync"), must_fail=True),
]


@dataclass
class Row:
    """What came of a kind."""

    kind: Kind
    said: str
    code: int
    seconds: float

    @property
    def cuts(self) -> int:
        return len(re.findall(r"^(?:cut|kill) \d+:", self.said, re.MULTILINE))

    @property
    def acknowledged(self) -> int:
        """In all; what each new disk of a kind counted is in its last line."""
        total = re.search(r"(\d+) acknowledged records", self.said)
        last = re.findall(r"^(?:cut|kill) \d+: (\d+) acknowledged", self.said, re.MULTILINE)
        return int(total[1]) if total else int(last[-1]) if last else 0

    @property
    def longest_start_s(self) -> float:
        return max(map(float, re.findall(r"back after ([\d.]+) s", self.said)), default=0.0)

    @property
    def was_skipped(self) -> bool:
        return re.search(r"^skipped", self.said, re.MULTILINE) is not None

    @property
    def verdict(self) -> str:
        if self.was_skipped:
            return re.search(r"^skipped.*", self.said, re.MULTILINE)[0]
        if self.kind.must_fail:
            return f"caught at cut {self.cuts + 1}" if self.code else "NOT CAUGHT"
        return "FAILED: see its log" if self.code else "none lost"

    @property
    def is_right(self) -> bool:
        return self.was_skipped or (self.code != 0) == self.kind.must_fail


def run(kind: Kind, arguments: argparse.Namespace) -> Row:
    cuts = arguments.cuts * kind.times
    home = arguments.home / re.sub(r"\W+", "-", kind.title)
    home.parent.mkdir(parents=True, exist_ok=True)
    count = "--kills" if kind.module == "chaos" else "--cuts"
    binary = arguments.debug_binary if kind.must_fail else arguments.binary
    command = [sys.executable, "-B", "-m", f"lab.{kind.module}", *kind.options, count, str(cuts),
               "--home", home, "--binary", binary]
    began, code = time.monotonic(), -1
    log = home.with_suffix(".log")
    with open(log, "w") as said:
        try:
            code = subprocess.run(command, cwd=SCRIPTS, stdout=said, stderr=subprocess.STDOUT,
                                  timeout=RUN_S + cuts * CUT_S, check=False).returncode
        except subprocess.TimeoutExpired:
            said.write("did not end in time\n")
    return Row(kind, log.read_text(), code, time.monotonic() - began)


def run_all(arguments: argparse.Namespace) -> bool:
    """Prints the table, row by row; whether every row is as it should be."""
    arguments.debug_binary = Path(arguments.debug_binary)
    kinds = [kind for kind in KINDS if not kind.must_fail or arguments.debug_binary.exists()]
    if len(kinds) < len(KINDS):
        print(f"left out: {KINDS[-1].title}: no debug build at {arguments.debug_binary}")
    print(f"{'kind':26} {'cuts':>5} {'acknowledged':>13} {'longest start':>14} {'took':>8}")
    rows = []
    for kind in kinds:
        row = run(kind, arguments)
        rows.append(row)
        print(f"{kind.title:26} {row.cuts:5} {row.acknowledged:13} {row.longest_start_s:12.2f} s "
              f"{row.seconds:6.0f} s  {row.verdict}", flush=True)
    right = sum(row.is_right for row in rows)
    print(f"{right} passed, {len(rows) - right} failed")
    return right == len(rows)
