"""Cuts the power under load on a real file system, and checks the broker's promises after it.

    scripts/powercut --cuts 50 --fs ext4|xfs --how ioctl|rebuild|throttle [--seed N]
    scripts/powercut --all --cuts 50

ioctl: the file system is shut down without writing its log, the broker killed, everything mounted
and started again: what the file system forgets must not have been acknowledged.

rebuild: the disk logs every write and flush. At random moments an image is made of what was flushed
by then, with any part of the rest dropped or torn, and a second broker starts on it: every record
acknowledged before that moment must be there. This shows a missing flush: --without-dsync (only a
debug build has it) leaves them out, and must fail.

throttle: kill -9 on a disk that writes 8 MiB a second, and a start at once, while the writes of the
dead process still land (S1).

--all: all of these on both file systems, twice as many plain kills (scripts/chaos), and a debug
build without its flushes: one table.

Two idempotent producers write with acks=all all the time. Needs root, loop devices, and for rebuild
FUSE; ends with "skipped" where the machine has none."""

import argparse
import os
import random
import shutil
import sys
import time
from pathlib import Path

import confluent_kafka

from lab import ROOT, clients, cuts
from lab.broker import Broker, DidNotStart
from lab.chaos import PARTITIONS, QUIET_S, TOPIC, Producer, Reader
from lab.image import Refused
from lab.ledger import Broken, Ledger
from lab.volume import Volume, sparse_file
from lab.writelog import LoggedFile, Rebuilder

MIB = 1 << 20
# Fifty cuts write a gigabyte and a half: a full disk is another test.
IMAGE_BYTES = 4096 * MIB
# After so many cuts the disk begins anew: the log grows, and every image is read from its start.
CUTS_A_DISK = 25
THROTTLE_BYTES = 8 * MIB
BLKIO = Path("/sys/fs/cgroup/blkio")
SETTINGS = {"journal.bytes": 16 * MIB, "journal.file.bytes": 4 * MIB}


class Load:
    """Producers that write to a broker, and what they were promised."""

    def __init__(self, broker: Broker, seed: int, keeps: bool):
        self.ledger = Ledger(PARTITIONS)
        clients.create_topic(broker.address, TOPIC, partitions=PARTITIONS)
        self.producers = [Producer(name, broker, self.ledger, seed) for name in (b"a-", b"b-")]
        self.reader = None if keeps else Reader(broker, self.ledger)
        for producer in self.producers:
            producer.start()

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_) -> None:
        for producer in self.producers:
            producer.finished.set()
            producer.client.purge()
            producer.join(QUIET_S)

    def run_for(self, seconds: float) -> None:
        for producer in self.producers:
            producer.paused.clear()
        time.sleep(seconds)
        self.check_producers()

    def pause(self) -> None:
        for producer in self.producers:
            producer.paused.set()

    def check_producers(self) -> None:
        for producer in self.producers:
            if producer.failure:
                raise producer.failure

    def finish(self) -> None:
        """Stops, and waits until everything sent is acknowledged."""
        for producer in self.producers:
            producer.finished.set()
        for producer in self.producers:
            producer.join(2 * QUIET_S)
            if producer.failure or len(producer.client):
                left = len(producer.client)
                raise producer.failure or Broken(f"{left} records never acknowledged")

    def promises(self) -> Ledger:
        """A copy of all promises so far, none of them read yet."""
        copy = Ledger(PARTITIONS)
        with self.ledger.lock:
            copy.acknowledged = self.ledger.acknowledged
            for ours, theirs in zip(copy.partitions, self.ledger.partitions, strict=True):
                ours.promised = dict(theirs.promised)
                ours.promised_to = theirs.promised_to
        return copy


def by_ioctl(arguments, chance: random.Random) -> int:
    volume = Volume(sparse_file(arguments.home / "image", IMAGE_BYTES),
                    arguments.home / "mounted", arguments.fs)
    try:
        volume.attach().make()
        volume.mount()
        broker = new_broker(arguments, volume, chance).start(timeout_s=60)
        with Load(broker, arguments.seed, keeps=False) as load:
            for cut in range(1, arguments.cuts + 1):
                load.run_for(chance.uniform(0.1, arguments.longest_s))
                volume.cut()
                broker.kill()
                volume.unmount()
                volume.mount()
                broker.shards = chance.choice([1, 2, 3])
                broker.start(timeout_s=60)
                load.pause()
                load.reader.catch_up()
                told(cut, load.ledger.acknowledged, broker)
            load.finish()
            load.reader.catch_up()
            acknowledged = load.ledger.acknowledged
        broker.kill()
        return acknowledged
    finally:
        end(broker if "broker" in locals() else None)
        volume.discard()


def by_throttle(arguments, chance: random.Random) -> int:
    if not (BLKIO / "blkio.throttle.write_bps_device").exists():
        raise Refused("no blkio control group (version 1) at /sys/fs/cgroup/blkio")
    volume = Volume(sparse_file(arguments.home / "image", IMAGE_BYTES),
                    arguments.home / "mounted", arguments.fs)
    group = BLKIO / f"spate-powercut-{os.getpid()}"
    broker = None
    try:
        volume.attach().make()
        volume.mount()
        group.mkdir()
        limit = group / "blkio.throttle.write_bps_device"
        limit.write_text(f"{volume.number} {THROTTLE_BYTES}\n")
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "throttled"]
        broker = new_broker(arguments, volume, chance, prefix=enter).start(timeout_s=120)
        with Load(broker, arguments.seed, keeps=False) as load:
            for cut in range(1, arguments.cuts + 1):
                load.run_for(chance.uniform(0.5, 3 * arguments.longest_s))
                broker.process.kill()
                broker.process.wait()
                broker.process = None
                broker.shards = chance.choice([1, 2, 3])
                broker.start(timeout_s=120)
                load.pause()
                load.reader.catch_up()
                told(cut, load.ledger.acknowledged, broker)
            limit.write_text(f"{volume.number} 0\n")
            load.finish()
            load.reader.catch_up()
            return load.ledger.acknowledged
    finally:
        end(broker)
        volume.discard()
        remove_group(group)


def by_rebuilding(arguments, chance: random.Random) -> int:
    acknowledged = 0
    for first in range(1, arguments.cuts + 1, CUTS_A_DISK):
        cuts = range(first, min(first + CUTS_A_DISK, arguments.cuts + 1))
        acknowledged += rebuild_some(arguments, chance, cuts)
    return acknowledged


def rebuild_some(arguments, chance: random.Random, cuts: range) -> int:
    home = arguments.home
    log = home / "log"
    broker = rebuilder = None
    with LoggedFile(sparse_file(home / "image", IMAGE_BYTES), log, home / "fuse") as disk:
        volume = Volume(disk.path, home / "mounted", arguments.fs)
        try:
            rebuilder = Rebuilder(log, home / "durable", IMAGE_BYTES)
            volume.attach().make()
            volume.mount()
            broker = new_broker(arguments, volume, chance).start(timeout_s=60)
            with Load(broker, arguments.seed, keeps=True) as load:
                for cut in cuts:
                    load.run_for(chance.uniform(0.05, arguments.longest_s / 2))
                    # In this order: what is promised now is in the log by then.
                    promises = load.promises()
                    rebuilder.advance(disk.moment())
                    load.pause()
                    check_image(arguments, chance, cut, rebuilder, promises)
                return load.ledger.acknowledged
        finally:
            end(broker)
            volume.discard()
            if rebuilder:
                rebuilder.close()
            log.unlink(missing_ok=True)


def check_image(arguments, chance: random.Random, cut: int, rebuilder: Rebuilder,
                promises: Ledger) -> None:
    """Starts a broker on the disk as the power failure left it, and reads everything."""
    # A file for each: what the last image's file system still has to write must not come here.
    target = arguments.home / "rebuilt" / f"image-{cut}"
    target.parent.mkdir(exist_ok=True)
    pending, harmed = rebuilder.rebuild(target, chance)
    volume = Volume(target, arguments.home / "rebuilt" / "mounted", arguments.fs)
    broker = None
    try:
        volume.attach().mount()
        broker = Broker(arguments.binary, arguments.home / "rebuilt", settings=SETTINGS,
                        shards=chance.choice([1, 2, 3]))
        broker.data = volume.place / "data"
        broker.start(timeout_s=60)
        reader = Reader(broker, promises)
        reader.catch_up()
        reader.close()
        told(cut, promises.acknowledged, broker,
             f"; {pending} writes after the last flush, {harmed} dropped or torn")
        end(broker)
        volume.unmount()
        target.unlink()
    finally:
        end(broker)
        volume.discard()


def new_broker(arguments, volume: Volume, chance: random.Random, prefix=()) -> Broker:
    broker = Broker(arguments.binary, arguments.home, reactor=arguments.reactor, prefix=prefix,
                    settings=SETTINGS, shards=chance.choice([1, 2, 3]))
    broker.data = volume.place / "data"
    if arguments.without_dsync:
        broker.prefix = ["env", "SPATE_SABOTAGE=no-dsync", *broker.prefix]
    return broker


def told(cut: int, acknowledged: int, broker: Broker, more="") -> None:
    print(f"cut {cut}: {acknowledged} acknowledged, back after {broker.start_s:.2f} s with "
          f"{broker.shards} shards{more}", flush=True)


def end(broker: Broker | None) -> None:
    if broker:
        broker.kill()


def remove_group(group: Path) -> None:
    deadline = time.monotonic() + QUIET_S
    while group.exists() and time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--fs", choices=["ext4", "xfs"], default="ext4")
    parser.add_argument("--how", choices=list(WAYS), default="ioctl")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--reactor", default="auto")
    parser.add_argument("--longest-s", type=float, default=1.5, help="between two cuts")
    parser.add_argument("--all", action="store_true", help="every kind in turn, and one table")
    parser.add_argument("--without-dsync", action="store_true", help="must fail; debug build only")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.add_argument("--debug-binary", default=ROOT / "target" / "debug" / "spate",
                        help="of --all: the build that can leave its flushes out")
    parser.add_argument("--home", type=Path, default=ROOT / "target" / "powercut")
    return parser.parse_args()


WAYS = {"ioctl": by_ioctl, "rebuild": by_rebuilding, "throttle": by_throttle}


def main() -> None:
    arguments = parse_arguments()
    if os.geteuid() != 0:
        print("skipped: mounting needs root")
        return
    shutil.rmtree(arguments.home, ignore_errors=True)
    if arguments.all:
        sys.exit(not cuts.run_all(arguments))
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    try:
        acknowledged = WAYS[arguments.how](arguments, random.Random(arguments.seed))
    except Refused as refused:
        print(f"skipped: {refused}")
        return
    except (Broken, DidNotStart, confluent_kafka.KafkaException) as broken:
        print(f"after seed {arguments.seed}: {broken}\nlogs stay in {arguments.home}")
        print("0 passed, 1 failed")
        sys.stdout.flush()
        # Producers may wait for a broker that does not come back.
        os._exit(1)
    print(f"{arguments.cuts} cuts by {arguments.how} on {arguments.fs} in "
          f"{time.monotonic() - began:.0f} s: {acknowledged} acknowledged records, none lost")
    print("1 passed, 0 failed")
    shutil.rmtree(arguments.home, ignore_errors=True)


if __name__ == "__main__":
    main()
