"""A disk that remembers every write and every flush in their order, and what it would hold had the
power failed at some moment.

`python -m lab.writelog IMAGE LOG MOUNTPOINT` serves one file over FUSE, to put a loop device on:
what comes is logged before it is answered, so everything that anybody was told lies in the log.
`Rebuilder` makes images from that log: all that a flush covers, and of what came after the last one
any part, dropped or torn sector by sector.

    entry: kind u8 (1 write, 2 flush) | offset u64 | length u32 | the bytes"""

import errno
import os
import random
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

from lab import SCRIPTS
from lab.image import Refused
from lab.volume import run

ENTRY = struct.Struct("<BQI")
WRITE, FLUSH = 1, 2
SECTOR = 512
NAME = "disk"
MOUNT_S = 10


class LoggedFile:
    """The disk: a FUSE file over `image` while the context lasts."""

    def __init__(self, image: Path, log: Path, place: Path):
        self.image, self.log, self.place = image, log, place
        self.process = None

    def __enter__(self) -> "LoggedFile":
        self.place.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        command = [sys.executable, "-B", "-m", "lab.writelog", str(self.image), str(self.log),
                   str(self.place)]
        self.process = subprocess.Popen(command, cwd=SCRIPTS, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        deadline = time.monotonic() + MOUNT_S
        while not self.path.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise Refused(f"no FUSE here: {self.process.communicate()[1][-300:]!r}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_) -> None:
        subprocess.run(["fusermount3", "-u", "-z", str(self.place)], check=False,
                       capture_output=True)
        try:
            self.process.wait(MOUNT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()

    @property
    def path(self) -> Path:
        return self.place / NAME

    def moment(self) -> int:
        """Now, as a position in the log: everything acknowledged so far lies before it."""
        return self.log.stat().st_size


class Rebuilder:
    """Follows a log. `durable` holds what is flushed; `pending` what came after the last flush."""

    def __init__(self, log: Path, durable: Path, total_bytes: int):
        self.log = open(log, "rb")
        self.path = durable
        self.durable = open(durable, "w+b")
        self.durable.truncate(total_bytes)
        self.pending = []

    def close(self) -> None:
        self.log.close()
        self.durable.close()

    def advance(self, moment: int) -> None:
        while self.log.tell() + ENTRY.size <= moment:
            start = self.log.tell()
            kind, offset, length = ENTRY.unpack(self.log.read(ENTRY.size))
            if start + ENTRY.size + length > moment:
                self.log.seek(start)
                return
            if kind == WRITE:
                self.pending.append((offset, self.log.read(length)))
                continue
            for at, data in self.pending:
                os.pwrite(self.durable.fileno(), data, at)
            self.pending.clear()

    def rebuild(self, target: Path, chance: random.Random) -> tuple[int, int]:
        """The disk as a power failure may leave it now: of each write that no flush covers nothing,
        all, or some sectors. Says how many there were, and how many are not there whole."""
        self.durable.flush()
        run("cp", "--sparse=always", str(self.path), str(target))
        harmed = 0
        with open(target, "r+b") as image:
            for offset, data in self.pending:
                fate = chance.randrange(3)
                harmed += fate != 0
                if fate == 0:
                    os.pwrite(image.fileno(), data, offset)
                elif fate == 1:
                    for at in range(0, len(data), SECTOR):
                        if chance.random() < 0.5:
                            os.pwrite(image.fileno(), data[at:at + SECTOR], offset + at)
        return len(self.pending), harmed


def serve(image: str, log: str, place: str) -> None:
    import mfusepy

    class Disk(mfusepy.Operations):
        """One file. A single thread, so that the log has one order."""

        use_ns = True

        def __init__(self):
            self.image = os.open(image, os.O_RDWR)
            self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def _note(self, kind: int, offset: int = 0, data: bytes = b"") -> None:
            os.writev(self.log, [ENTRY.pack(kind, offset, len(data)), data])

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path == f"/{NAME}":
                size = os.fstat(self.image).st_size
                return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": size}
            raise mfusepy.FuseOSError(errno.ENOENT)

        def readdir(self, path, fh):
            return [".", "..", NAME]

        def open(self, path, flags):
            return 1

        def read(self, path, size, offset, fh):
            return os.pread(self.image, size, offset)

        def write(self, path, data, offset, fh):
            self._note(WRITE, offset, data)
            return os.pwrite(self.image, data, offset)

        def fsync(self, path, datasync, fh):
            self._note(FLUSH)
            return 0

        def truncate(self, path, length, fh=None):
            return 0

        def flush(self, path, fh):
            return 0

        def release(self, path, fh):
            return 0

    mfusepy.FUSE(Disk(), place, foreground=True, nothreads=True)


if __name__ == "__main__":
    serve(*sys.argv[1:4])
