"""One table of what scripts/bench-partitions has measured: for each broker and number of partitions
the medians over the rounds, and how p99 compares with that of the smallest number.

    python -m lab.partitions DIR"""

import json
import statistics
import sys
from pathlib import Path

RATIO_MAX = 2
MIB = 1 << 20


def row(rounds: list[dict]) -> dict[str, float]:
    def median(value) -> float:
        return statistics.median(map(value, rounds))

    return {
        "rate": median(lambda one: one["produced"]["records"] / one["seconds"]),
        "p50_ms": median(lambda one: one["produced"]["latency"]["p50_ns"] / 1e6),
        "p99_ms": median(lambda one: one["produced"]["latency"]["p99_ns"] / 1e6),
        "cpu_us": median(lambda one: one["broker_usage"]["cpu_s"] * 1e6
                         / max(one["produced"]["records"], 1)),
        "rss_mib": median(lambda one: one["broker_usage"]["rss_bytes"] / MIB),
        "files": median(lambda one: one["broker_usage"]["open_files"]),
    }


def load(folder: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Rows by broker and number of partitions."""
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: int(path.stem)):
        # scripts/bench says first on which machine.
        _machine, _, results = path.read_text().partition("\n")
        by_broker: dict[str, list[dict]] = {}
        for one in json.loads(results)["rounds"] if results.strip() else []:
            by_broker.setdefault(one["broker"], []).append(one["outcome"])
        for broker, rounds in by_broker.items():
            rows.setdefault(broker, {})[int(path.stem)] = row(rounds)
    return rows


def main() -> None:
    rows = load(Path(sys.argv[1]))
    if not rows:
        sys.exit(f"nothing was measured: see {sys.argv[1]}")
    print(f"{'broker':8} {'partitions':>10} {'records/s':>10} {'p50 ms':>9} {'p99 ms':>9} "
          f"{'p99 ratio':>9} {'CPU us/rec':>10} {'RSS MiB':>8} {'files':>6}")
    for broker, found in rows.items():
        least = found[min(found)]
        for partitions, one in found.items():
            ratio = one["p99_ms"] / least["p99_ms"]
            mark = "" if ratio <= RATIO_MAX else f"  above {RATIO_MAX}"
            print(f"{broker:8} {partitions:10,} {one['rate']:10,.0f} {one['p50_ms']:9.3f} "
                  f"{one['p99_ms']:9.3f} {ratio:9.2f} {one['cpu_us']:10.1f} "
                  f"{one['rss_mib']:8.0f} {one['files']:6.0f}{mark}")


if __name__ == "__main__":
    main()
