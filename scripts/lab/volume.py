"""A file system on a loop device, whose power can be cut: made, mounted, cut, mounted again.

It needs root and loop devices; `Refused` says what is missing. What happens on it, and what must
have survived, is the caller's matter."""

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from lab.image import NO_LOG_FLUSH, SHUTDOWN, Refused

BUSY_S = 20
# The block size of both file systems, so that no direct write is ever read, changed and written.
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-b", "size=4096"],
}


class Volume:
    """The file system `kind` on the loop device over `file`, to be mounted at `place`."""

    def __init__(self, file: Path, place: Path, kind: str):
        self.file = file
        self.place = place
        self.kind = kind
        self.device = None

    def attach(self) -> "Volume":
        self.device = run("losetup", "--find", "--show", str(self.file))
        return self

    def make(self) -> None:
        run(*MAKE[self.kind], self.device)

    def mount(self) -> "Volume":
        self.place.mkdir(parents=True, exist_ok=True)
        # Two copies of one xfs, the live one and a rebuilt one, have the same uuid.
        options = ["-o", "nouuid"] if self.kind == "xfs" else []
        run("mount", "-t", self.kind, *options, self.device, str(self.place))
        return self

    def cut(self) -> None:
        """As if the power failed: the file system forgets what it has not written, and writes no
        more."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Waits for the last operation of a process that was just killed."""
        deadline = time.monotonic() + BUSY_S
        while self._is_mounted():
            try:
                run("umount", str(self.place))
            except Refused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _is_mounted(self) -> bool:
        # Not by a look at the directory: one whose file system was shut down answers EIO.
        lines = Path("/proc/mounts").read_text().splitlines()
        return any(line.split()[1] == str(self.place) for line in lines)

    def detach(self) -> None:
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=False, capture_output=True)
            self.device = None

    def discard(self) -> None:
        """Takes everything down, whatever state it is in."""
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)
        self.detach()

    @property
    def number(self) -> str:
        """The device's major and minor number, as control groups name it."""
        found = os.stat(self.device).st_rdev
        return f"{os.major(found)}:{os.minor(found)}"


def sparse_file(path: Path, total_bytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(total_bytes)
    return path


def run(*command: str) -> str:
    """What the command printed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except FileNotFoundError as missing:
        raise Refused(f"{command[0]} is not installed; run scripts/setup") from missing
    if done.returncode != 0:
        raise Refused(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip()
