"""Asks the same questions about consumer groups of several brokers, round by round, and prints
medians; see the script `bench-groups`."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lab import ROOT
from lab.broker import Broker
from lab.peer import Kafka

SETTINGS = {"group.initial.rebalance.delay.ms": 0}
FLUSHED = {"log.flush.interval.messages": 1}
RUN_S = 120
# A rest, so that what one broker has left to the kernel is not on the next one's bill.
SETTLE_S = 0.5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-groups", description=__doc__)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", default="4s", help="of each measurement of commits")
    parser.add_argument("--prime", default="10s", help="of commits before: a JVM gets fast by work")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rebalances", type=int, default=20, help="in each round")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--only", default="", help="questions whose names begin so")
    parser.add_argument("--without-flushed", action="store_true", help="leave out `kafka flushed`")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "bench-groups")
    return parser.parse_args()


def questions(arguments: argparse.Namespace) -> dict[str, list[str]]:
    one = f"commits, {arguments.connections} connections, 1 in flight"
    eight = f"commits, {arguments.connections} connections, 8 in flight"
    connections = ["commits", "--connections", str(arguments.connections)]
    asked = {
        f"rebalance, {arguments.members} members, {arguments.partitions} partitions": [
            "rebalance", "--members", str(arguments.members),
            "--partitions", str(arguments.partitions)],
        one: connections,
        eight: [*connections, "--in-flight", "8"],
    }
    return {name: words for name, words in asked.items() if name.startswith(arguments.only)}


def measured(words: list[str], arguments: argparse.Namespace) -> list[str]:
    if words[0] == "commits":
        return [*words, "--duration", arguments.duration]
    return [*words, "--rebalances", str(arguments.rebalances)]


def primed(words: list[str], arguments: argparse.Namespace) -> list[str]:
    if words[0] == "commits":
        return [*words, "--warm-up", arguments.prime, "--duration", "1s"]
    return [*words, "--rebalances", str(3 * arguments.rebalances)]


def ask(bench: Path, broker, words: list[str]) -> dict:
    command = [bench, "groups", *words, "--broker", broker.address, "--broker-pid",
               str(broker.pid), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=RUN_S, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{done.stderr.decode()}")
    outcome = json.loads(done.stdout)
    count = max(1, outcome["count"])
    return {
        "a second": count / outcome["seconds"],
        "p50 ms": outcome["latency"]["p50_ns"] / 1e6,
        "p99 ms": outcome["latency"]["p99_ns"] / 1e6,
        "CPU us each": outcome["broker_usage"]["cpu_s"] / count * 1e6,
        "driver us each": outcome["driver_usage"]["cpu_s"] / count * 1e6,
    }


def show(name: str, rounds: dict[str, list[dict]]) -> None:
    """A row for each broker: the median, and how far the rounds lay apart."""
    print(f"\n{name}")
    first = None
    for broker, outcomes in rounds.items():
        medians, cells = {}, []
        for metric in outcomes[0]:
            values = [outcome[metric] for outcome in outcomes]
            medians[metric] = statistics.median(values)
            spread = (max(values) - min(values)) / 2 / medians[metric] if medians[metric] else 0
            cells.append(f"{metric} {medians[metric]:10.2f} +-{spread:4.0%}")
        print(f"  {broker:14} {'  '.join(cells)}")
        if first is None:
            first = medians
            continue
        faster = first["a second"] / medians["a second"]
        cheaper = first["CPU us each"] / medians["CPU us each"]
        print(f"  {'':14} spate has {faster:.2f} of its rate, at {cheaper:.2f} of its CPU")


def main() -> int:
    arguments = parse_arguments()
    shutil.rmtree(arguments.home, ignore_errors=True)
    brokers = {
        "spate": Broker(arguments.binaries / "spate", arguments.home, settings=SETTINGS,
                        shards=arguments.shards),
        "kafka": Kafka(SETTINGS),
    }
    if not arguments.without_flushed:
        brokers["kafka flushed"] = Kafka(SETTINGS | FLUSHED)
    asked = questions(arguments)
    found = {question: {name: [] for name in brokers} for question in asked}
    started = []
    try:
        for broker in brokers.values():
            started.append(broker)
            broker.start()
        bench = arguments.binaries / "spate-bench"
        for broker in brokers.values():
            for words in asked.values():
                ask(bench, broker, primed(words, arguments))
        for _ in range(arguments.rounds):
            for question, words in asked.items():
                for name, broker in brokers.items():
                    time.sleep(SETTLE_S)
                    outcome = ask(bench, broker, measured(words, arguments))
                    found[question][name].append(outcome)
    finally:
        for broker in started:
            broker.stop()
        shutil.rmtree(arguments.home, ignore_errors=True)
    print(f"medians of {arguments.rounds} interleaved rounds; +- is half the range")
    for question, rounds in found.items():
        show(question, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
