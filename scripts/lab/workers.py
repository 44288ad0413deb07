"""Counts what io_uring hands to kernel workers while clients produce, on a file system made for it.

    scripts/io-workers [--fs ext4|xfs] [--seconds 10] [--image-mib 4096]

A write that the file system cannot begin at once (one that grows a file, or waits for a lock) goes
to a kernel worker: a thread switch and a lost batch for each. The kernel's own tracepoint counts
them, by operation. The first seconds, in which files are made, are counted apart. Needs root.
Exits 1 if the steady state had any writes in workers on ext4; on xfs it only reports."""

import argparse
import collections
import contextlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import ROOT
from lab.broker import Broker

TRACING = Path("/sys/kernel/tracing")
EVENT = "events/io_uring/io_uring_queue_async_work"
# Whose it was is told by number only: the names beside it are of the last threads that the machine
# ran, and others' stand as `<...>`.
OPERATION = re.compile(r"^\s*\S+-(\d+) +\[.*io_uring_queue_async_work: .*opcode (\w+)")
WARM_UP_S = 5


@contextlib.contextmanager
def mounted(file_system: str, home: Path, image_mib: int):
    """A fresh file system on a loop device."""
    image, target = home / "image", home / "mnt"
    target.mkdir(parents=True)
    with open(image, "wb") as file:
        file.truncate(image_mib << 20)
    subprocess.run([f"mkfs.{file_system}", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, target], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", target], check=True)
        image.unlink()


@contextlib.contextmanager
def tracing():
    """A trace buffer of our own that holds only this event."""
    if not (TRACING / "instances").is_dir():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
    instance = TRACING / "instances" / "spate-io-workers"
    instance.mkdir(exist_ok=True)
    try:
        (instance / "buffer_size_kb").write_text("8192")
        (instance / EVENT / "enable").write_text("1")
        yield instance
    finally:
        (instance / EVENT / "enable").write_text("0")
        instance.rmdir()


def take(instance: Path) -> collections.Counter:
    """What was traced since the last look, by (thread, operation)."""
    lines = (instance / "trace").read_text().splitlines()
    found = [(int(match[1]), match[2]) for match in map(OPERATION.match, lines) if match]
    (instance / "trace").write_text("")
    return collections.Counter(found)


def drive(broker: Broker, seconds: int, *load: str) -> None:
    bench = broker.binary.parent / "spate-bench"
    subprocess.run([bench, "run", "--broker", broker.address, "--partitions", "8", "--warm-up",
                    "0s", "--duration", f"{seconds}s", *load], check=True,
                   stdout=subprocess.DEVNULL)


LOADS = [("small records", ("--producers", "32", "--in-flight", "4")),
         ("batches of 128 KiB", ("--producers", "4", "--in-flight", "4",
                                 "--batch-records", "128", "--rate", "100000"))]


def ours(counted: collections.Counter, broker: Broker) -> collections.Counter:
    """The operations of the broker's threads, and of nobody else's on the machine."""
    threads = {int(task.name) for task in Path(f"/proc/{broker.pid}/task").iterdir()}
    total: collections.Counter = collections.Counter()
    for (thread, operation), count in counted.items():
        total[operation] += count * (thread in threads)
    return +total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs", choices=["ext4", "xfs"], default="ext4")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--image-mib", type=int, default=8192)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "io-workers")
    arguments = parser.parse_args()
    if shutil.which(f"mkfs.{arguments.fs}") is None:
        print(f"skipped: mkfs.{arguments.fs} is not installed (scripts/setup installs it)")
        return 0
    shutil.rmtree(arguments.home, ignore_errors=True)
    writes = 0
    with (mounted(arguments.fs, arguments.home, arguments.image_mib) as folder,
          tracing() as instance):
        broker = Broker(arguments.binary, folder).start()
        try:
            for name, load in LOADS:
                for phase, seconds in (("first seconds", WARM_UP_S),
                                       ("steady state", arguments.seconds)):
                    take(instance)
                    drive(broker, seconds, *load)
                    counted = ours(take(instance), broker)
                    print(f"{arguments.fs}, {name}, {phase} ({seconds} s): "
                          f"{dict(counted) or 'none'}", flush=True)
                    if phase == "steady state":
                        writes += sum(count for operation, count in counted.items()
                                      if operation.startswith("WRITE"))
            broker.stop()
        finally:
            if broker.process is not None and broker.process.poll() is None:
                broker.kill()
            time.sleep(0.5)
    return int(writes > 0 and arguments.fs == "ext4")


if __name__ == "__main__":
    sys.exit(main())
