"""Damaged files: a torn tail is not corruption and is cut; corruption is told and never guessed.

The damage is done as a disk would: by one flipped byte inside a record's known text."""

import re
import time
from pathlib import Path

import pytest

from lab import clients, payload, wire
from lab.broker import DidNotStart
from lab.wire import Batch, Connection

# Longer than the pause after which an idle shard closes its run with an empty frame.
IDLE_FRAME_S = 0.4


def mark(number: int) -> bytes:
    return b"<< a record to be damaged: %d >>" % number


def flip_in_files(folder: Path, text: bytes) -> list[Path]:
    """Flips one byte of every place where the text stands; the files that held it."""
    damaged = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        places = [found.start() for found in re.finditer(re.escape(text), data)]
        with open(path, "r+b") as file:
            for place in places:
                file.seek(place + len(text) // 2)
                file.write(bytes([data[place + len(text) // 2] ^ 0x20]))
        if places:
            damaged.append(path)
    return damaged


@pytest.fixture
def written(spate, topic):
    """A broker killed after three records, each in a journal frame of its own."""
    broker = spate(shards=1).start()
    clients.create_topic(broker.address, topic)
    with Connection(broker.endpoint) as connection:
        for number in range(3):
            time.sleep(IDLE_FRAME_S if number < 2 else 0)
            # Of today: retention forgets what is old.
            now_ms = int(time.time() * 1000)
            record = Batch(values=(mark(number),), timestamp=now_ms).encode()
            assert connection.produce(topic, record) == (wire.NONE, number)
    broker.kill()
    return broker


def fetch_all(broker, topic: str) -> tuple[int, int, bytes]:
    with Connection(broker.endpoint) as connection:
        (error, high_watermark, records), = connection.fetch(topic)
    return error, high_watermark, records


@pytest.mark.warns(r"(?i)torn|tail|cut")
def test_a_torn_tail_is_cut(written, ground, topic):
    assert flip_in_files(written.data / "journal", mark(2)), "the record is in no journal"
    written.start()
    error, high_watermark, records = fetch_all(written, topic)
    assert (error, high_watermark) == (wire.NONE, 2)
    assert mark(1) in records and mark(2)[:20] + b"2" not in records
    with Connection(written.endpoint) as connection:
        assert connection.produce(topic, Batch().encode()) == (wire.NONE, 2)


def test_damage_inside_the_journal_stops_the_start(written, ground, topic):
    damaged = flip_in_files(written.data / "journal", mark(0))
    assert damaged, "the record is in no journal"
    with pytest.raises(DidNotStart) as refusal:
        written.start()
    said = str(refusal.value)
    assert damaged[0].name in said, said
    for part in (r"at \d+", "expected", "found", "restore|accept-loss"):
        assert re.search(part, said), said
    written.log.unlink()  # the error was expected


def test_a_journal_that_is_gone_stops_the_start(written, ground, topic):
    for path in (written.data / "journal").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DidNotStart, match="journal"):
        written.start()
    written.log.unlink()


def test_a_damaged_node_file_stops_the_start(written, ground, topic):
    node = written.data / "node"
    node.write_bytes(bytes(byte ^ 0xFF for byte in node.read_bytes()))
    with pytest.raises(DidNotStart, match=re.escape(str(node))):
        written.start()
    written.log.unlink()


def test_damaged_metadata_stops_the_start(written, ground, topic):
    assert flip_in_files(written.data / "metadata", topic.encode()), "the topic is in no file"
    with pytest.raises(DidNotStart, match="metadata"):
        written.start()
    written.log.unlink()


@pytest.mark.warns(r"(?i)damage|corrupt|segment|checksum|unreadable")
def test_a_damaged_segment_hides_only_its_range(spate, ground, topic, tmp_path):
    """Twenty megabytes in segments, one byte wrong in the middle of one, two topics."""
    broker = spate(shards=1, settings={"journal.bytes": 16 << 20, "journal.file.bytes": 4 << 20})
    broker.start()
    other = f"{topic}-other"
    sent = tmp_path / "sent"
    count = payload.write_lines(sent, seed=5, total_bytes=20 << 20)
    for name in (topic, other):
        clients.create_topic(broker.address, name)
        clients.Confluent().produce(broker.address, name, sent)
    assert broker.stop() == 0
    segments = sorted((broker.data / "topics").rglob("*.seg"), key=lambda path: path.stat().st_size)
    assert segments, "nothing was sealed"
    assert flip_in_files(broker.data / "topics", b"%08d " % (count // 8))
    broker.start()
    with Connection(broker.endpoint) as connection:
        assert connection.produce(topic, Batch().encode()) == (wire.NONE, count)
        error, high_watermark, _ = connection.fetch(topic, count - 1)[0]
        assert (error, high_watermark) == (wire.NONE, count + 1)
        error, _, records = connection.fetch(topic, count // 8, max_bytes=1)[0]
        assert error != wire.NONE or not records, "damaged bytes were served"
