"""What the broker has promised: every record that it acknowledged, at which offset of which
partition. Kept by the producers, checked against what a reader finds after a crash.

The rule, for each partition: the records of one producer come once each and in the order of their
numbers, and an acknowledged record stands at the offset that the acknowledgement named. Records
that were sent and not acknowledged may be there or not, but not twice."""

import threading
from dataclasses import dataclass, field


class Broken(Exception):
    """A promise was broken. Says which record, where it should be, and what is there."""


@dataclass
class PartitionLedger:
    """The promises of one partition, and how far they were checked."""

    # Acknowledged and not yet read; read and not yet acknowledged. By offset.
    promised: dict = field(default_factory=dict)
    unpromised: dict = field(default_factory=dict)
    promised_to: int = 0
    checked_to: int = 0
    last_number: dict = field(default_factory=dict)
    found: int = 0


class Ledger:
    """Promises of all partitions. Delivery reports come from several threads."""

    def __init__(self, partitions: int):
        self.partitions = [PartitionLedger() for _ in range(partitions)]
        self.lock = threading.Lock()
        self.acknowledged = 0

    def acknowledge(self, partition: int, offset: int, value: bytes) -> None:
        ledger = self.partitions[partition]
        with self.lock:
            self.acknowledged += 1
            ledger.promised_to = max(ledger.promised_to, offset + 1)
            if offset < ledger.checked_to:
                found = ledger.unpromised.pop(offset, None)
            else:
                found = ledger.promised.setdefault(offset, value)
        if found != value:
            raise Broken(f"{partition}@{offset} was acknowledged for {value[:14]!r}, "
                         f"but it holds or was promised to {found and found[:14]!r}")

    def check_record(self, partition: int, offset: int, value: bytes) -> None:
        """To be called for every record that a reader finds, in order."""
        ledger = self.partitions[partition]
        if offset < ledger.checked_to:
            raise Broken(f"{partition}@{offset}: read again after {ledger.checked_to}")
        producer, number = value[:2], int(value[2:14])
        last = ledger.last_number.get(producer, -1)
        if number <= last:
            raise Broken(f"{partition}@{offset}: {value[:14]!r} after number {last}: "
                         "twice or out of order")
        ledger.last_number[producer] = number
        ledger.found += 1
        with self.lock:
            ledger.checked_to = offset + 1
            promised = ledger.promised.pop(offset, None)
            if promised is None:
                ledger.unpromised[offset] = value
        if promised not in (None, value):
            raise Broken(f"{partition}@{offset}: {promised[:14]!r} was acknowledged here, "
                         f"{value[:14]!r} is there")

    def promised_to(self, partition: int) -> int:
        """The least end that the partition must have: what was acknowledged or read is below."""
        ledger = self.partitions[partition]
        with self.lock:
            return max(ledger.promised_to, ledger.checked_to)

    def check_no_gap(self, partition: int, end: int) -> None:
        """To be called when a reader has come to `end`: no promise below it may be left."""
        with self.lock:
            promised = self.partitions[partition].promised
            missing = sorted(offset for offset in promised if offset < end)
        if missing:
            raise Broken(f"partition {partition}: {len(missing)} acknowledged records are gone, "
                         f"the first at {missing[0]}")
