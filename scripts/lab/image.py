"""A file system of its own in a file: one that may run full, or whose power may be cut, without
harm to the machine. Needs root and loop devices; `Refused` says what is missing.

It mounts and unmounts; what happens on it is the caller's."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

# EXT4_IOC_SHUTDOWN, and: flush nothing. From then on every write to the file system fails.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
PIECE_BYTES = 64 << 10


class Refused(Exception):
    """This machine cannot mount an image."""


class Image:
    """An ext4 file system, mounted at `place` for as long as the context lasts."""

    def __init__(self, folder: Path, total_bytes: int):
        self.file = folder / "image"
        self.place = folder / "mounted"
        self.total_bytes = total_bytes

    def __enter__(self) -> "Image":
        self.place.mkdir(parents=True, exist_ok=True)
        with open(self.file, "wb") as file:
            file.truncate(self.total_bytes)
        self._run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.file))
        self._run("mount", "-o", "loop", str(self.file), str(self.place))
        return self

    def __exit__(self, *_) -> None:
        # Lazily: a broker that was just killed may have writes on their way.
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)
        self.file.unlink(missing_ok=True)

    @staticmethod
    def _run(*command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        except FileNotFoundError as missing:
            raise Refused(f"{command[0]} is not installed") from missing
        if done.returncode != 0:
            raise Refused(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")

    def free_bytes(self) -> int:
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize

    def fail(self) -> None:
        """From now on the device takes nothing and flushes nothing."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def take_until(self, left_bytes: int) -> Path:
        """Fills the file system with somebody else's file until about so much is left."""
        filler = self.place / "filler"
        with open(filler, "ab") as file:
            while (excess := self.free_bytes() - left_bytes) > PIECE_BYTES:
                # The last pages go to the file system's own needs.
                piece = max(excess // 2, PIECE_BYTES)
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
        return filler
