"""`spate-bench run` with everything at once: groups, a backlog read beside them, connections and
topics that come and go. The report has to tell what each of them measured."""

import re
import subprocess

import pytest

LOAD = ["--partitions", "4", "--producers", "2", "--rate", "500", "--linger", "5ms", "--idempotent",
        "--consumers", "2", "--groups", "2", "--backfill", "1", "--backfill-rate", "2000000",
        "--prefill-mib", "4", "--churn-connections", "10", "--churn-topics", "2",
        "--warm-up", "500ms", "--duration", "2s"]
LINES = [r"2 groups of 2 members; 1 read the backlog; 10 connections/s come and go",
         r"fetched +[1-9]", r"backfilled +[1-9]", r"groups +[1-9]\d* assignments, [1-9]",
         r"connections +\d", r"topics +\d", r"20 of them", r"4 of them",
         r"nothing lost, doubled, reordered or changed"]


def test_the_report_tells_what_every_kind_of_load_measured(broker, binary, ground):
    bench = binary.parent / "spate-bench"
    if not bench.exists():
        pytest.skip(f"{bench} is not built")
    done = subprocess.run([bench, "run", "--broker", broker.address, *LOAD], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert " x while " not in done.stdout
    for line in LINES:
        assert re.search(line, done.stdout), f"{line}: {done.stdout}"
