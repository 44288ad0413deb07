"""Options and fixtures: which broker is under test, and on which ground it stands.

A ground is what the kernel grants. Tests marked `everywhere` run on all of them, the others on
the first; `--ground` picks one for all. Every broker that a test starts must stop with exit code
0 and must have logged no WARN or ERROR that the test does not name."""

import re
import resource
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import ROOT, SCRIPTS, clients, payload
from lab.broker import Broker, Elsewhere

# Tests hold a thousand connections, and brokers inherit the limit.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

# A killed process's writes land after its death; the next start waits and says so.
ALWAYS_SAID = [r"writes are still landing"]

CONFINE = [sys.executable, str(SCRIPTS / "lab" / "confine.py")]


@dataclass(frozen=True)
class Ground:
    """What the kernel grants, the setting that it is met with, and what may be said about it."""

    reactor: str
    prefix: tuple = ()
    said: str | None = None


GROUNDS = {
    "io_uring": Ground("io_uring"),
    "epoll": Ground("epoll"),
    "no-io-uring": Ground("auto", (*CONFINE, "no-io-uring"), r"io_uring"),
    "little-memlock": Ground("auto", (*CONFINE, "little-memlock"), r"(?i)lock|memory|ENOMEM"),
}


def pytest_addoption(parser):
    parser.addoption("--broker", help="HOST:PORT of a broker that runs already")
    parser.addoption("--binary", type=Path, default=ROOT / "target" / "release" / "spate")
    parser.addoption("--ground", choices=GROUNDS, help="one ground for all tests")
    parser.addoption("--volume", type=payload.parse_bytes, default=payload.parse_bytes("4MiB"),
                     help="how much each pair of clients moves, as in 64MiB")


def pytest_generate_tests(metafunc):
    if "ground" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("ground")
    everywhere = metafunc.definition.get_closest_marker("everywhere")
    names = [chosen] if chosen else list(GROUNDS) if everywhere else list(GROUNDS)[:1]
    if metafunc.config.getoption("broker"):
        names = ["elsewhere"]
    metafunc.parametrize("ground", names)


@pytest.fixture
def volume(request) -> int:
    return request.config.getoption("volume")


@pytest.fixture
def binary(request) -> Path:
    return request.config.getoption("binary")


@pytest.fixture
def spate(request, ground, binary, tmp_path):
    """Makes brokers that are not started yet: `spate(shards=2, settings={...})`."""
    if ground == "elsewhere":
        pytest.skip("needs a broker of its own")
    made = []

    def make(**options) -> Broker:
        stands_on = GROUNDS[ground]
        options = {"reactor": stands_on.reactor, "prefix": stands_on.prefix} | options
        made.append(Broker(binary, tmp_path / f"broker-{len(made)}", **options))
        return made[-1]

    yield make
    leave(request, GROUNDS[ground], made)


def leave(request, ground: Ground, made: list[Broker]) -> None:
    marks = request.node.iter_markers("warns")
    expected = ALWAYS_SAID + [mark.args[0] for mark in marks]
    expected += [ground.said] if ground.said else []
    codes = [broker.stop() for broker in made if broker.process is not None]
    said = [line for broker in made for line in broker.complaints()]
    unexpected = [line for line in said if not any(re.search(one, line) for one in expected)]
    assert set(codes) <= {0}, f"exit codes after SIGTERM: {codes}"
    assert not unexpected, "\n".join(unexpected[:20])


@pytest.fixture
def broker(request):
    """A broker that serves: a fresh process, or the one of `--broker`."""
    elsewhere = request.config.getoption("broker")
    if elsewhere:
        return Elsewhere(elsewhere)
    return request.getfixturevalue("spate")().start()


@pytest.fixture
def topic() -> str:
    """A name that no other test has used."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def all_clients(binary) -> dict:
    made = [clients.Kcat(), clients.KafkaPython(), clients.Confluent(), clients.JavaConsole()]
    if binary.exists():
        made.append(clients.SpateCli(binary))
    return {client.name: client for client in made}
