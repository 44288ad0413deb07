"""Records to send: lines of printable text, each with its number, the same for the same seed.

Lines, because every client can read and write them; numbered, so that order and loss show; half
random, so that a codec has something to do and something to leave alone."""

import base64
import random
from pathlib import Path

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
POOL_BYTES = 1 << 18


def parse_bytes(text: str) -> int:
    """`16MiB` -> 16777216."""
    digits = text.rstrip("KMGTiB")
    return int(digits) * UNITS[text[len(digits):]]


def lines(seed: int, total_bytes: int, longest: int = 2_000):
    """Lines without their newline, until together they have the wanted size."""
    chance = random.Random(seed)
    pool = base64.b64encode(chance.randbytes(POOL_BYTES))
    sent, number = 0, 0
    while sent < total_bytes:
        length = chance.randint(1, longest)
        start = chance.randrange(len(pool) - length)
        line = b"%08d %s %s" % (number, pool[start:start + length // 2], b"spate" * (length // 10))
        yield line
        sent += len(line)
        number += 1


def write_lines(path: Path, seed: int, total_bytes: int, longest: int = 2_000) -> int:
    """Writes such lines to a file; how many there are."""
    count = 0
    with open(path, "wb") as file:
        for line in lines(seed, total_bytes, longest):
            file.write(line + b"\n")
            count += 1
    return count
