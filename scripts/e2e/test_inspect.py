"""`spate inspect`: what it says of a data directory that clients have written, running or not, and
that it finds a damaged byte."""

import json
import subprocess

import pytest

from lab import clients, payload

MIB = 1 << 20


def inspect(binary, *arguments) -> tuple[int, list[dict], str]:
    """Exit code, the objects it printed, and what it said on standard error."""
    command = [str(binary), "inspect", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, objects, done.stderr.decode(errors="replace")


@pytest.fixture
def written(spate, topic, tmp_path):
    """A broker with segments and journals, and how many records it holds."""
    broker = spate(shards=1, settings={"journal.bytes": 16 * MIB, "journal.file.bytes": 4 * MIB})
    broker.start()
    sent = tmp_path / "sent"
    count = payload.write_lines(sent, seed=3, total_bytes=20 * MIB)
    clients.create_topic(broker.address, topic)
    clients.Confluent().produce(broker.address, topic, sent, codec="zstd")
    last = tmp_path / "last"
    last.write_bytes(b"the last value")
    clients.run(["kcat", "-P", "-b", broker.address, "-t", topic, "-p", "0", "-k", "the key",
                 "-H", "name=its value", last])
    return broker, count


def test_a_summary_beside_a_running_broker(written, ground, topic, binary):
    broker, count = written
    code, (summary,), said = inspect(binary, "--data", broker.data)
    assert code == 0, said
    assert summary["node"] == 1 and len(summary["journals"]) == 1
    found, = (one for one in summary["topics"] if one["topic"] == topic)
    partition, = found["written"]
    assert (partition["start"], partition["next"]) == (0, count + 1)
    assert broker.is_running()


def test_every_file_is_shown_and_verified(written, ground, topic, binary):
    broker, count = written
    assert broker.stop() == 0
    code, (summary,), said = inspect(binary, "--data", broker.data, "--verify")
    assert (code, summary["bad"]) == (0, []), said
    files = [path for path in broker.data.rglob("*")
             if path.is_file() and not path.name.startswith(("shards-", "lock", "control"))]
    code, shown, said = inspect(binary, "--records", "--verify", *files)
    assert code == 0, said
    kinds = {one["kind"] for one in shown}
    assert {"node", "journal", "segment", "metadata log"} <= kinds
    segments = [one for one in shown if one["kind"] == "segment"]
    records = {record["offset"]: record for one in segments for block in one["blocks"]
               for batch in block["batches"] for record in batch["records"]}
    fragments = [fragment for one in shown if one["kind"] == "journal"
                 for frame in one["frames"] for fragment in frame["fragments"]]
    records |= {record["offset"]: record for fragment in fragments
                for batch in fragment.get("batches", []) for record in batch["records"]}
    assert sorted(records) == list(range(count + 1))
    last = records[count]
    assert (last["key"], last["value"]) == ("the key", "the last value")
    assert last["headers"] == [{"header": "name", "value": "its value"}]
    assert any(topic in record["record"] for one in shown if one["kind"] == "metadata log"
               for record in one["records"])


def test_a_damaged_byte_is_found(written, ground, topic, binary):
    broker, _ = written
    assert broker.stop() == 0
    segment = next(path for path in (broker.data / "topics").rglob("*.seg")
                   if b"SPBK" in path.read_bytes())
    with open(segment, "r+b") as file:
        file.seek(3 * 4096 + 17)
        byte = file.read(1)
        file.seek(3 * 4096 + 17)
        file.write(bytes([byte[0] ^ 1]))
    for arguments in (["--verify", segment], ["--verify", "--data", broker.data]):
        code, (shown,), said = inspect(binary, *arguments)
        assert code == 1
        bad = shown["bad"][0]
        assert bad["position"] <= 3 * 4096 + 17 and bad["next"] is not None, bad
        assert segment.name in said and f"at {bad['position']}" in said, said


def test_what_is_no_file_of_ours_is_refused(binary, ground, tmp_path):
    stranger = tmp_path / "stranger"
    stranger.write_bytes(b"nothing of ours" * 1000)
    code, (shown,), said = inspect(binary, "--verify", stranger)
    assert (code, shown["kind"]) == (1, "unknown") and "stranger" in said
    code, shown, said = inspect(binary, tmp_path / "missing")
    assert (code, shown) == (1, []) and "missing" in said
