"""A consumer that reads a topic from its beginning at a steady rate of bytes, as cheaply as Python
can: it looks at batch headers only. A program of its own, so that its CPU time can be told.

    python -m lab.backfill HOST:PORT TOPIC PARTITIONS BYTES_PER_SECOND

Prints the bytes and the seconds when it has everything, or when it is told to end (SIGTERM)."""

import signal
import socket
import struct
import sys
import time

from lab import wire

FETCH_BYTES = 8 << 20
PARTITION_BYTES = 1 << 20
MAX_WAIT_MS = 100
# Where in a batch its length lies, and the difference of its last offset to its first.
LENGTH_AT, LAST_DELTA_AT, BATCH_HEAD_BYTES = 8, 23, 27


class Told(Exception):
    """Somebody wants it to end."""


def request(topic: str, offsets: dict[int, int]) -> bytes:
    head = struct.pack(">iiiib", -1, MAX_WAIT_MS, 1, FETCH_BYTES, 0)
    entries = [struct.pack(">iqi", *position, PARTITION_BYTES) for position in offsets.items()]
    return head + wire.array([wire.string(topic) + wire.array(entries)])


class Answers:
    """Fetch answers of one connection, in one buffer that is used again."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self.buffer = bytearray(FETCH_BYTES + (2 << 20))

    def next(self) -> memoryview:
        length = struct.unpack(">i", self._fill(4))[0]
        if length > len(self.buffer):
            self.buffer = bytearray(length)
        return self._fill(length)

    def _fill(self, length: int) -> memoryview:
        view, done = memoryview(self.buffer)[:length], 0
        while done < length:
            got = self.connection.recv_into(view[done:])
            if got == 0:
                raise wire.Closed(f"after {done} of {length} bytes")
            done += got
        return view


def take(answer: memoryview, offsets: dict[int, int]) -> int:
    """Moves the offsets behind what has come; how many bytes of records that were."""
    # Correlation id, throttle time, one topic, its name, its partitions.
    (name_length,) = struct.unpack_from(">h", answer, 12)
    at = 14 + name_length
    (partitions,) = struct.unpack_from(">i", answer, at)
    at, total = at + 4, 0
    for _ in range(partitions):
        partition, error, _high, _stable, aborted, length = struct.unpack_from(">ihqqii", answer,
                                                                               at)
        if error != wire.NONE or aborted > 0:
            raise SystemExit(f"partition {partition}: error {error}, {aborted} aborted")
        at += 30
        next_offset = end_of(answer[at:at + max(length, 0)])
        if next_offset is not None:
            offsets[partition] = next_offset
        at, total = at + max(length, 0), total + max(length, 0)
    return total


def end_of(batches: memoryview) -> int | None:
    """The offset behind the last whole batch."""
    at, end = 0, None
    while at + BATCH_HEAD_BYTES <= len(batches):
        base, length = struct.unpack_from(">qi", batches, at)
        (last_delta,) = struct.unpack_from(">i", batches, at + LAST_DELTA_AT)
        at += LENGTH_AT + 4 + length
        if at <= len(batches):
            end = base + last_delta + 1
    return end


def read_all(address: str, topic: str, partitions: int, bytes_per_s: float, tell) -> None:
    host, port = address.rsplit(":", 1)
    offsets = dict.fromkeys(range(partitions), 0)
    with wire.Connection((host, int(port)), 60) as connection:
        answers, total, begun = Answers(connection.socket), 0, time.monotonic()
        while True:
            connection.send(wire.FETCH, 4, request(topic, offsets))
            came = take(answers.next(), offsets)
            total += came
            tell(total)
            if came == 0:
                return
            time.sleep(max(0.0, begun + total / bytes_per_s - time.monotonic()))


def main() -> None:
    address, topic, partitions, bytes_per_s = sys.argv[1:]
    seen, begun = [0], time.monotonic()

    def tell(total: int) -> None:
        seen[0] = total

    def end(*_) -> None:
        raise Told

    signal.signal(signal.SIGTERM, end)
    try:
        read_all(address, topic, int(partitions), float(bytes_per_s), tell)
    except Told:
        pass
    print(seen[0], time.monotonic() - begun)


if __name__ == "__main__":
    main()
