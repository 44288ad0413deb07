"""Makes equal what must differ between two brokers: ids, addresses, times, and the wording of
messages. Whatever it hides, nobody compares, so it hides by the field's name and as little as it
can."""

import re
import uuid

from conformance.mutate import UNKNOWN_ID
from conformance.world import World

UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Kafka writes 16 bytes as 22 letters.
ABSENT = "(absent)"
SHORT_UUID = re.compile(r"\b[A-Za-z0-9_-]{22}\b")
MESSAGES = {"ErrorMessage", "BatchIndexErrorMessage", "Documentation"}
ADDRESSES = {"Port", "Host", "ClientHost", "ClusterId", "LogDir"}
# Only whether there is one: a broker's start, and in Kafka an election, makes a new one.
EPOCHS = {"LeaderEpoch", "CommittedLeaderEpoch", "EpochNumber", "ControllerEpoch", "BrokerEpoch"}
COUNTERS = {"ProducerId", "SessionId", "LogAppendTimeMs", "LastTimestamp", "TotalBytes",
            "UsableBytes", "FinalizedFeaturesEpoch", "LastCaughtUpTimestamp",
            "LastFetchTimestamp"}


def normalise(world: World, tree):
    """A copy of an answer that can be compared with another broker's."""
    if not isinstance(tree, dict):
        return tree
    return _struct(world, tree)


def _struct(world: World, tree: dict) -> dict:
    return {name: _value(world, name, value) for name, value in tree.items()}


def _value(world: World, name: str, value):
    if isinstance(value, dict):
        return _struct(world, value)
    if isinstance(value, list):
        items = [_value(world, name, item) for item in value]
        # Kafka's own order of structs is often that of a hash map.
        return sorted(items, key=repr) if items and isinstance(items[0], dict) else items
    if name in MESSAGES:
        return "a message" if value else value
    if name in ADDRESSES:
        return "an address" if value not in ("", None, -1) else value
    if name in EPOCHS or name in COUNTERS:
        return "some" if value > 0 or (value == 0 and name in EPOCHS) else value
    if isinstance(value, uuid.UUID):
        return _id(world, value)
    if isinstance(value, str):
        value = value.replace(f"-{world.case}-", "-") if world.case else value
        return SHORT_UUID.sub("SHORT-UUID", UUID_TEXT.sub("UUID", value))
    return value


def _id(world: World, value: uuid.UUID) -> str:
    for name, known in world.ids.items():
        if known == value:
            return f"id of {name.replace(f'-{world.case}-', '-')}"
    if value in (UNKNOWN_ID, uuid.UUID(int=0)):
        return str(value)
    return "some id"


def unlike(kafka, spate, at: str = ""):
    """The deepest places where two trees differ: (path, one, other)."""
    if isinstance(kafka, dict) and isinstance(spate, dict):
        pairs, dot = (kafka, spate), "." if at else ""
    elif isinstance(kafka, list) and isinstance(spate, list):
        pairs, dot = (labelled(kafka), labelled(spate)), ""
    else:
        if kafka != spate or type(kafka) is not type(spate):
            yield at, kafka, spate
        return
    one, other = pairs
    for name in sorted(one.keys() | other.keys()):
        yield from unlike(one.get(name, ABSENT), other.get(name, ABSENT), f"{at}{dot}{name}")


def labelled(items: list) -> dict:
    """Elements by name, where they have one, so that one that is missing shifts no others."""
    found = {}
    for index, value in enumerate(items):
        label = f"[{label_of(value, index)}]"
        found[label if label not in found else f"{label}#{index}"] = value
    return found


def label_of(value, index: int) -> str:
    if isinstance(value, dict):
        for name in ("ApiKey", "Name", "GroupId", "PartitionIndex", "Partition"):
            if isinstance(value.get(name), int | str):
                return str(value[name])[:60]
    return str(index)
