"""What the end-to-end tests, chaos and the measurements share: a broker under test as a process,
real clients over files, and raw Kafka frames. Nothing here asserts; the tests do."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "target" / "peers"
SCRIPTS = ROOT / "scripts"
