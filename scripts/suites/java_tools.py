"""Gives every step to both brokers and compares exit codes and what was printed; see the script
`java-tools` beside this file."""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from conformance import brokers
from lab import ROOT, SCRIPTS
from suites.java_steps import STEPS, Step

KAFKA = SCRIPTS / "peers" / "kafka"
LOGS = ROOT / "target" / "suites" / "java-tools"
STEP_S = 90

# Whatever must differ between two brokers, or between two runs of one tool.
PATTERNS = [
    (re.compile(r"^\[[-0-9 :,]+\] (WARN|ERROR|INFO) .*$", re.MULTILINE), ""),
    (re.compile(r"^\s+at [\w.$/<>]+\(.*\)$|^\s+\.\.\. \d+ more$", re.MULTILINE), ""),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    # The console consumer's own group has a random number of any length.
    (re.compile(r"\bconsole-consumer-\d+\b"), "console-consumer-N"),
    (re.compile(r"\b[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])"), "ID"),
    (re.compile(r"\b1[789]\d{11}\b"), "TIME"),
    (re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.:,]\d{3}"), "TIME"),
    (re.compile(r"\"logDir\":\"[^\"]*\""), '"logDir":"DIR"'),
    (re.compile(r"\"log_dirs\":\[\"/[^\]]*\]"), '"log_dirs":["DIR"]'),
]
NUMBER = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?")
SPACES = re.compile(r"[ \t]+")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/suites/java-tools", description=__doc__)
    parser.add_argument("steps", nargs="*", help="only steps whose names begin so")
    parser.add_argument("--kafka", help="HOST:PORT of a fresh Kafka that runs already")
    parser.add_argument("--spate", help="HOST:PORT of a fresh Spate that runs already")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    return parser.parse_args()


class Side:
    """One broker, and the tools that stay at it."""

    def __init__(self, name: str, address: str, folder: Path):
        self.name = name
        self.address = address
        self.folder = folder
        self.staying = {}

    def take(self, step: Step) -> str:
        """The exit code and what was printed, made comparable."""
        if step.name.startswith("end "):
            return self._end(step.name.removeprefix("end "))
        for name, content in step.files:
            (self.folder / name).write_text(content)
        arguments = [part.format(b=self.address, d=self.folder) if "{" in part else part
                     for part in step.arguments.split(" ") if part]
        command = [str(KAFKA), "tool", step.tool, *arguments]
        if step.stays:
            return self._stay(step, command)
        try:
            done = subprocess.run(command, input=step.given.encode(), capture_output=True,
                                  timeout=STEP_S, check=False)
            said = f"exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        except subprocess.TimeoutExpired as late:
            said = f"no end within {STEP_S} s\n{(late.stdout or b'').decode()}"
        (LOGS / f"{step.name.replace(' ', '-')}.{self.name}").write_text(said)
        told = normalise(said.replace(self.address, "ADDRESS"), self, step.counts)
        return "\n".join(sorted(told.splitlines())) if step.unordered else told

    def _stay(self, step: Step, command: list[str]) -> str:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.staying[step.name] = process
        # Its first record means that the group has formed.
        return process.stdout.readline().decode()

    def _end(self, name: str) -> str:
        process = self.staying.pop(name)
        process.terminate()
        process.communicate(timeout=STEP_S)
        return ""

    def leave(self) -> None:
        for process in self.staying.values():
            process.kill()
            process.wait()


def normalise(said: str, side: Side, counts: bool) -> str:
    said = said.replace(side.address.rsplit(":", 1)[1], "PORT")
    for pattern, word in PATTERNS:
        said = pattern.sub(word, said)
    if counts:
        head, _, rest = said.partition("\n")
        said = head + "\n" + NUMBER.sub("N", rest)
    lines = [SPACES.sub(" ", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line]
    return "\n".join(dict.fromkeys(lines)) if counts else "\n".join(lines)


def unlike(kafka: str, spate: str) -> str:
    """The first lines that only one of them has."""
    one, other = kafka.splitlines(), spate.splitlines()
    only_kafka = [line for line in one if line not in other]
    only_spate = [line for line in other if line not in one]
    said = [f"kafka: {line[:150]}" for line in only_kafka[:3]]
    said += [f"spate: {line[:150]}" for line in only_spate[:3]]
    return "\n      ".join(said) or "the same lines in another order"


def judge(step: Step, kafka: str, spate: str, reasons: dict[str, str]) -> bool:
    reason = reasons.get(step.name)
    if kafka == spate:
        print(f"{step.name:42} same" + (", but it is excepted" if reason else ""), flush=True)
        return reason is None
    if reason is not None:
        print(f"{step.name:42} differs: {reason}", flush=True)
        return True
    print(f"{step.name:42} DIFFERS\n      {unlike(kafka, spate)}", flush=True)
    return False


def main() -> int:
    arguments = parse_arguments()
    LOGS.mkdir(parents=True, exist_ok=True)
    entries = tomllib.loads(Path(__file__).with_name("java-tools.toml").read_text())
    reasons = {name: entry["reason"] for entry in entries.get("exceptions", [])
               for name in entry["steps"]}
    chosen = [step for step in STEPS if not arguments.steps
              or step.name.startswith(tuple(arguments.steps))]
    failed = 0
    with (brokers.kafka(arguments.kafka) as kafka,
          brokers.spate(arguments.spate, arguments.binary) as spate,
          tempfile.TemporaryDirectory() as folder):
        sides = []
        for name, address in (("kafka", kafka), ("spate", spate)):
            (Path(folder) / name).mkdir()
            sides.append(Side(name, address, Path(folder) / name))
        try:
            for step in chosen:
                failed += not judge(step, *(side.take(step) for side in sides), reasons)
        finally:
            for side in sides:
                side.leave()
    print(f"{len(chosen) - failed} passed, {failed} failed in {len(chosen)} steps")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
