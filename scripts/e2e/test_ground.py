"""What a start says of the file system under the data directory, on real ones in a file. Where this
machine mounts no image the tests are skipped and say why."""

import time

import pytest

from lab.image import Refused
from lab.volume import Volume, sparse_file
from lab.wire import NONE, Batch, Connection

# mkfs.xfs makes none below 300 MiB.
IMAGE_BYTES = 512 << 20
SETTINGS = {"log.level": "info,spate=debug", "journal.bytes": 16 << 20}
DEADLINE_S = 30


@pytest.fixture(params=["ext4", "xfs"])
def volume(request, tmp_path):
    volume = Volume(sparse_file(tmp_path / "image", IMAGE_BYTES), tmp_path / "mounted",
                    request.param)
    try:
        volume.attach().make()
        volume.mount()
    except Refused as refusal:
        volume.discard()
        pytest.skip(f"no {request.param} can be mounted here: {refusal}")
    yield volume
    volume.discard()


@pytest.mark.warns(r"hands direct writes over to the kernel's workers")
def test_a_start_tells_whether_the_file_system_hands_writes_over(spate, volume):
    broker = spate(shards=1, reactor="io_uring", settings=SETTINGS)
    broker.data = volume.place / "data"
    broker.start()
    warned = {"ext4": False, "xfs": True}[volume.kind]
    said = "hands direct writes over" if warned else "the file system takes direct writes"
    deadline = time.monotonic() + DEADLINE_S
    while said not in broker.log_text():
        assert time.monotonic() < deadline, broker.log_text()
        time.sleep(0.05)
    assert bool(broker.complaints()) == warned
    assert not (broker.data / ".ground").exists()
    with Connection(broker.endpoint) as connection:
        connection.wait_for_topic("ground")
        assert connection.produce("ground", Batch().encode()) == (NONE, 0)
    assert broker.stop() == 0
