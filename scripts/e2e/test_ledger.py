"""The judge of the chaos runs is judged: each way to break a promise is found."""

import pytest

from lab.ledger import Broken, Ledger


def record(number: int, producer=b"a-") -> bytes:
    return producer + b"%012d" % number + b"..."


@pytest.fixture
def ledger() -> Ledger:
    """Three records promised at 0, 1, 2."""
    ledger = Ledger(1)
    for offset in range(3):
        ledger.acknowledge(0, offset, record(offset))
    return ledger


def read(ledger: Ledger, *numbers: int) -> None:
    start = ledger.partitions[0].checked_to
    for offset, number in enumerate(numbers, start):
        ledger.check_record(0, offset, record(number))
    ledger.check_no_gap(0, ledger.partitions[0].checked_to)


def test_kept_promises_pass(ledger):
    read(ledger, 0, 1, 2, 3)
    ledger.acknowledge(0, 3, record(3))
    assert ledger.promised_to(0) == 4
    assert not ledger.partitions[0].promised and not ledger.partitions[0].unpromised


def test_a_lost_record_is_found(ledger):
    with pytest.raises(Broken, match="was acknowledged here"):
        read(ledger, 0, 2)


def test_a_gap_in_the_offsets_is_found(ledger):
    ledger.check_record(0, 0, record(0))
    ledger.check_record(0, 2, record(2))
    with pytest.raises(Broken, match="1 acknowledged records are gone, the first at 1"):
        ledger.check_no_gap(0, 3)


def test_a_repeated_record_is_found(ledger):
    with pytest.raises(Broken, match="twice or out of order"):
        read(ledger, 0, 1, 2, 2)


def test_records_out_of_order_are_found():
    with pytest.raises(Broken, match="twice or out of order"):
        read(Ledger(1), 1, 0)


def test_a_late_promise_about_another_record_is_found(ledger):
    read(ledger, 0, 1, 2, 3)
    with pytest.raises(Broken, match="was acknowledged for"):
        ledger.acknowledge(0, 3, record(4))


def test_a_lost_tail_is_below_the_promise(ledger):
    read(ledger, 0, 1)
    assert ledger.promised_to(0) == 3
