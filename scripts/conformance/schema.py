"""Kafka's message schemas, from the jar of its own clients, and a codec over them: a message is a
tree of dicts, lists and scalars under the schemas' field names. Written for tests: slow, exact, and
independent of the codec under test."""

import json
import re
import struct
import uuid
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab import PEERS

SCALARS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I",
           "int64": ">q", "float64": ">d", "bool": ">?"}
ZERO_UUID = uuid.UUID(int=0)
COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)


class Malformed(Exception):
    """Bytes that are no message of this schema."""


@dataclass(frozen=True)
class Versions:
    """`3`, `3-7`, `3+` or `none`."""

    first: int
    last: int

    @staticmethod
    def parse(text: str) -> "Versions":
        if text == "none":
            return Versions(1, 0)
        if text.endswith("+"):
            return Versions(int(text[:-1]), 32767)
        first, _, last = text.partition("-")
        return Versions(int(first), int(last or first))

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last

    def __iter__(self):
        return iter(range(self.first, self.last + 1))


@dataclass(frozen=True)
class Field:
    """One field of a struct; `element` is the type of what an array holds."""

    name: str
    kind: str
    element: str | None
    versions: Versions
    nullable: Versions
    tagged: Versions
    tag: int | None
    default: object
    fields: tuple

    def is_struct(self) -> bool:
        return bool(self.fields)


@dataclass(frozen=True)
class Schema:
    """A request or a response."""

    name: str
    key: int
    versions: Versions
    flexible: Versions
    fields: tuple
    for_brokers: bool

    def encode(self, tree: dict, version: int, extra_tag: bytes | None = None) -> bytes:
        """Fields that `tree` does not name have their default. With `extra_tag` the message ends
        with a tagged field that nobody knows."""
        writer = Writer(version in self.flexible, version)
        writer.struct(self.fields, tree, extra_tag)
        return bytes(writer.out)

    def decode(self, body: bytes, version: int) -> dict:
        reader = Reader(body, version in self.flexible, version)
        tree = reader.struct(self.fields)
        if reader.at != len(body):
            raise Malformed(f"{len(body) - reader.at} bytes too many behind {self.name}")
        return tree


class Writer:
    """Appends values in the classic or the flexible form."""

    def __init__(self, flexible: bool, version: int):
        self.out = bytearray()
        self.flexible = flexible
        self.version = version

    def struct(self, fields: tuple, tree: dict, extra_tag: bytes | None = None) -> None:
        unknown = set(tree) - {field.name for field in fields}
        if unknown:
            raise KeyError(f"no such fields: {unknown}")
        tagged = []
        for field in fields:
            if self.version not in field.versions:
                continue
            value = tree.get(field.name, field.default)
            if self.flexible and self.version in field.tagged:
                if value != field.default:
                    tagged.append((field, value))
            else:
                self.value(field, field.kind, value)
        if self.flexible:
            self.tags(tagged, extra_tag)

    def tags(self, tagged: list, extra_tag: bytes | None) -> None:
        self.unsigned(len(tagged) + (extra_tag is not None))
        for field, value in sorted(tagged, key=lambda pair: pair[0].tag):
            inner = Writer(self.flexible, self.version)
            inner.value(field, field.kind, value)
            self.unsigned(field.tag)
            self.unsigned(len(inner.out))
            self.out += inner.out
        if extra_tag is not None:
            self.unsigned(10_000)
            self.unsigned(len(extra_tag))
            self.out += extra_tag

    def value(self, field: Field, kind: str, value) -> None:
        if kind in SCALARS:
            self.out += struct.pack(SCALARS[kind], value)
        elif kind == "uuid":
            self.out += value.bytes
        elif kind == "array":
            self.length(None if value is None else len(value), ">i")
            for item in value or ():
                self.value(field, field.element, item)
        elif kind == "string":
            data = None if value is None else value.encode()
            self.length(None if data is None else len(data), ">h")
            self.out += data or b""
        elif kind in ("bytes", "records"):
            self.length(None if value is None else len(value), ">i")
            self.out += value or b""
        elif self.version in field.nullable and field.kind != "array":
            self.out += b"\xff" if value is None else b"\x01"
            if value is not None:
                self.struct(field.fields, value)
        else:
            self.struct(field.fields, value)

    def length(self, length: int | None, classic: str) -> None:
        if self.flexible:
            self.unsigned(0 if length is None else length + 1)
        else:
            self.out += struct.pack(classic, -1 if length is None else length)

    def unsigned(self, value: int) -> None:
        while value > 0x7F:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)


class Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, data: bytes, flexible: bool, version: int):
        self.data = data
        self.at = 0
        self.flexible = flexible
        self.version = version

    def take(self, count: int) -> bytes:
        taken = self.data[self.at:self.at + count]
        if len(taken) != count or count < 0:
            raise Malformed(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return taken

    def struct(self, fields: tuple) -> dict:
        tree = {}
        here = [field for field in fields if self.version in field.versions]
        for field in here:
            if self.flexible and self.version in field.tagged:
                tree[field.name] = field.default
            else:
                tree[field.name] = self.value(field, field.kind)
        if self.flexible:
            self.tags({field.tag: field for field in here if self.version in field.tagged}, tree)
        return tree

    def tags(self, known: dict, tree: dict) -> None:
        for _ in range(self.unsigned()):
            tag, size = self.unsigned(), self.unsigned()
            inner = Reader(self.take(size), self.flexible, self.version)
            if tag not in known:
                tree[f"tag {tag}"] = inner.data
                continue
            field = known[tag]
            tree[field.name] = inner.value(field, field.kind)
            if inner.at != size:
                raise Malformed(f"tagged field {field.name} has {size - inner.at} bytes too many")

    def value(self, field: Field, kind: str):
        if kind in SCALARS:
            layout = SCALARS[kind]
            return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        if kind == "uuid":
            return uuid.UUID(bytes=self.take(16))
        if kind == "array":
            count = self.length(">i")
            return None if count is None else [self.value(field, field.element)
                                               for _ in range(count)]
        if kind == "string":
            length = self.length(">h")
            return None if length is None else self.take(length).decode()
        if kind in ("bytes", "records"):
            length = self.length(">i")
            return None if length is None else self.take(length)
        if self.version in field.nullable and field.kind != "array" and self.take(1) == b"\xff":
            return None
        return self.struct(field.fields)

    def length(self, classic: str) -> int | None:
        if self.flexible:
            length = self.unsigned() - 1
        else:
            length = struct.unpack(classic, self.take(struct.calcsize(classic)))[0]
        return None if length == -1 else length

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def default_of(kind: str, text, nullable: bool):
    if text in ("null", None) and text is not None:
        return None
    if kind == "array":
        return []
    if kind in ("bytes", "records"):
        return b""
    if kind == "string":
        return text or ""
    if kind == "bool":
        return str(text).strip().lower() == "true"
    if kind == "uuid":
        return ZERO_UUID
    if kind == "float64":
        return float(text or 0)
    if kind in SCALARS:
        return int(str(text or 0).strip(), 0)
    return None if nullable else {}


def parse_field(entry: dict, structs: dict) -> Field:
    kind, element = entry["type"].strip(), None
    if kind.startswith("[]"):
        kind, element = "array", kind[2:]
    nullable = Versions.parse(entry.get("nullableVersions", "none"))
    inner = entry.get("fields") or structs.get(element or kind) or ()
    return Field(entry["name"], kind, element, Versions.parse(entry["versions"]), nullable,
                 Versions.parse(entry.get("taggedVersions", "none")), entry.get("tag"),
                 default_of(kind, entry.get("default"), bool(list(nullable)[:1])),
                 tuple(parse_field(field, structs) for field in inner))


@cache
def load() -> dict[int, tuple[Schema, Schema]]:
    """Request and response of every API, by key."""
    jar, = (PEERS / "kafka" / "jars").glob("kafka-clients-*[0-9].jar")
    halves = {"request": {}, "response": {}}
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if not re.match(r"common/message/\w+(Request|Response)\.json$", name):
                continue
            entry = json.loads(COMMENT.sub("", archive.read(name).decode()))
            if entry["type"] not in halves or entry["validVersions"] == "none":
                continue
            structs = {one["name"]: one["fields"] for one in entry.get("commonStructs", ())}
            fields = tuple(parse_field(field, structs) for field in entry["fields"])
            halves[entry["type"]][entry["apiKey"]] = Schema(
                Path(name).stem, entry["apiKey"], Versions.parse(entry["validVersions"]),
                Versions.parse(entry["flexibleVersions"]), fields,
                "broker" in entry.get("listeners", ()))
    return {key: (request, halves["response"][key])
            for key, request in sorted(halves["request"].items())}


def named(name: str) -> tuple[Schema, Schema]:
    """`Metadata` for MetadataRequest and MetadataResponse."""
    for request, response in load().values():
        if request.name == name + "Request":
            return request, response
    raise KeyError(name)
