"""Runs each case of Streams and Connect against a broker of its own; see the script
`streams-connect` beside this file."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from lab import ROOT
from lab.broker import Broker
from lab.peer import Kafka
from suites import connect_files, streams_smoke
from suites.java_program import HOME, Failed

CASES = {**streams_smoke.CASES, **connect_files.CASES}
SHORT = ["streams close while failing", "connect files"]
SETTINGS = {"group.initial.rebalance.delay.ms": 0}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/suites/streams-connect", description=__doc__)
    parser.add_argument("cases", nargs="*", help="only cases whose names begin so")
    parser.add_argument("--short", action="store_true", help="what takes a minute")
    parser.add_argument("--on", choices=["spate", "kafka"], default="spate")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list[str]:
    if arguments.short:
        return SHORT
    wanted = tuple(arguments.cases) or ("",)
    return [name for name in CASES if name.startswith(wanted)]


def make_broker(arguments: argparse.Namespace, folder: Path):
    if arguments.on == "kafka":
        return Kafka(SETTINGS, heap="-Xmx768m")
    return Broker(arguments.binary, folder / "broker", settings=SETTINGS, shards=2)


def run(name: str, arguments: argparse.Namespace) -> bool:
    """Runs a case and prints its line; whether it went as it must."""
    folder = HOME / f"{name.replace(' ', '-')}.{arguments.on}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    broker, started = make_broker(arguments, folder), []
    begun = time.monotonic()
    try:
        broker.start()
        said, is_good = CASES[name](broker, folder, started), True
        complaints = [] if arguments.on == "kafka" else broker.complaints()
        if complaints:
            said, is_good = f"Spate complained: {complaints[0]}", False
    except Failed as failure:
        said, is_good = str(failure), False
    finally:
        for program in started:
            program.kill()
        broker.stop()
    shutil.rmtree(folder / "broker" / "data", ignore_errors=True)
    result = "PASSED" if is_good else "FAILED"
    print(f"{name:30} {result} {time.monotonic() - begun:6.1f} s  {said}", flush=True)
    return is_good


def main() -> int:
    arguments = parse_arguments()
    begun = time.monotonic()
    outcomes = [run(name, arguments) for name in chosen(arguments)]
    failed = outcomes.count(False)
    print(f"{len(outcomes) - failed} passed, {failed} failed in "
          f"{time.monotonic() - begun:.0f} s on {arguments.on}")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
