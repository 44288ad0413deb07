"""What `spate-bench verify` says of a broker that is killed, and of a real Kafka that is not.

    scripts/verify-kills [--kills 20] [--seed N] [--brokers spate,kafka]

The driver produces and consumes all the time. Spate is killed with kill -9 at random moments and
started again at once, by turns with one, two and three shards; Kafka is left in peace. In the end
everything is read once more, and judged by the rules of jepsen's kafka workload: lost, doubled,
reordered or changed records, and offsets that move."""

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import ROOT
from lab.broker import Broker
from lab.peer import Kafka

# Between a start and the next kill.
SHORTEST_S, LONGEST_S = 0.5, 4.0
# The driver goes on for so long after the last kill, and waits so long for the last answers.
CALM_S, DRAIN_S = 5, 60
SHARDS = (2, 1, 3)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/verify-kills", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rate", type=int, default=2_000, help="records/s")
    parser.add_argument("--brokers", default="spate,kafka")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "verify-kills")
    return parser.parse_args()


def drive(arguments: argparse.Namespace, address: str, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [arguments.binaries / "spate-bench", "verify", "--broker", address,
         "--duration", f"{seconds * 1000:.0f}ms", "--drain", f"{DRAIN_S}s",
         "--rate", str(arguments.rate), "--seed", str(arguments.seed)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def judged(driver: subprocess.Popen, name: str) -> bool:
    said, _ = driver.communicate()
    print(f"{name}:", *said.splitlines(), sep="\n  ", flush=True)
    return driver.returncode == 0


def kill_spate(arguments: argparse.Namespace) -> bool:
    chance = random.Random(arguments.seed)
    waits = [chance.uniform(SHORTEST_S, LONGEST_S) for _ in range(arguments.kills)]
    broker = Broker(arguments.binaries / "spate", arguments.home, shards=SHARDS[0]).start()
    driver = None
    try:
        # A start takes a moment too.
        driver = drive(arguments, broker.address, sum(waits) * 1.2 + CALM_S)
        for number, wait in enumerate(waits, 1):
            time.sleep(wait)
            if driver.poll() is not None:
                raise SystemExit(f"the driver ended before kill {number}: {driver.stdout.read()}")
            broker.restart(shards=SHARDS[number % len(SHARDS)])
        return judged(driver, f"spate, {arguments.kills} x kill -9, seed {arguments.seed}")
    finally:
        if driver is not None:
            driver.kill()
        broker.stop()


def calm_kafka(arguments: argparse.Namespace) -> bool:
    broker = Kafka()
    try:
        return judged(drive(arguments, broker.start().address, 20), "kafka, calm")
    finally:
        broker.stop()


def main() -> None:
    arguments = parse_arguments()
    shutil.rmtree(arguments.home, ignore_errors=True)
    ways = {"spate": kill_spate, "kafka": calm_kafka}
    passed = [ways[name](arguments) for name in arguments.brokers.split(",")]
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    if not all(passed):
        sys.exit(1)
    shutil.rmtree(arguments.home, ignore_errors=True)


if __name__ == "__main__":
    main()
