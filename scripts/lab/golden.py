"""Makes the golden data directories that every later release must open: small ones, by this
release's broker and kcat, of all codecs, with journals, segments and metadata.

    scripts/golden [--binary target/release/spate]

    broker/tests/golden/clean.tar.gz     after a clean stop
    broker/tests/golden/killed.tar.gz    after kill -9

Make them anew only when a format changes on purpose before its release; after a release they stay
and those of the next one come beside them. What they hold is said in broker/tests/golden.rs."""

import argparse
import subprocess
import tempfile
from pathlib import Path

from lab import ROOT
from lab.broker import Broker
from lab.clients import CODECS, create_topic, run

RECORDS = 300
LARGE_RECORDS = 8
LARGE_BYTES = 100_000
SETTINGS = {
    "journal.bytes": 16 << 20,
    "journal.file.bytes": 1 << 20,
    "direct.write.bytes": 64 << 10,
}


def produce(broker: Broker, topic: str, lines: list[str], codec: str, folder: Path) -> None:
    path = folder / "lines"
    path.write_text("\n".join(lines) + "\n")
    run(["kcat", "-P", "-b", broker.address, "-t", topic, "-p", "0", "-z", codec, "-K", "=",
         "-l", path, "-X", "enable.idempotence=true", "-X", "batch.size=1000000",
         "-X", "linger.ms=100"])


def fill(broker: Broker, folder: Path) -> None:
    for codec in CODECS:
        topic = f"golden-{codec}"
        create_topic(broker.address, topic, partitions=1, retention_ms=-1)
        lines = [f"key-{number % 7}={topic} record {number}" for number in range(RECORDS)]
        for start in range(0, RECORDS, RECORDS // 3):
            produce(broker, topic, lines[start:start + RECORDS // 3], codec, folder)
    topic = "golden-large"
    create_topic(broker.address, topic, partitions=1, retention_ms=-1)
    large = [f"key-{number % 7}={topic} record {number} " + "z" * LARGE_BYTES
             for number in range(LARGE_RECORDS)]
    produce(broker, topic, large, "none", folder)
    create_topic(broker.address, "golden-deleted")
    broker.cli("topic", "delete", "golden-deleted")


def make(binary: Path, name: str, folder: Path) -> Path:
    broker = Broker(binary, folder, shards=2, settings=SETTINGS)
    broker.data = folder / "spate-data"
    broker.start()
    fill(broker, folder)
    if name == "clean":
        assert broker.stop() == 0
    else:
        broker.kill()
    packed = ROOT / "broker" / "tests" / "golden" / f"{name}.tar.gz"
    packed.parent.mkdir(exist_ok=True)
    subprocess.run(["tar", "-C", str(folder), "--sort=name", "--exclude=control.sock",
                    "--exclude=pool", "-I", "gzip -9", "-cf", str(packed), "spate-data"],
                   check=True)
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    binary = parser.parse_args().binary
    for name in ("clean", "killed"):
        with tempfile.TemporaryDirectory() as folder:
            packed = make(binary, name, Path(folder))
        print(f"{packed.relative_to(ROOT)}: {packed.stat().st_size} bytes")


if __name__ == "__main__":
    main()
