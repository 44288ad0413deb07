"""Wrong requests made from a right one: every field in turn gets values that no sane client sends.

The names of the variants depend on the schema and the shape of the request only, so that the same
variant can be asked of two brokers whose topic ids differ."""

import copy
import uuid

from conformance.schema import Field, Schema

# The values that brokers and clients give a meaning to, and the ends of the range.
INTEGERS = {"int8": (-1, 0, 1, 2, 127), "int16": (-2, -1, 0, 1, 32767),
            "int32": (-2, -1, 0, 2**31 - 1), "int64": (-6, -5, -4, -3, -2, -1, 0, 2**63 - 1),
            "uint16": (0, 65535), "uint32": (0, 2**32 - 1), "float64": (-1.0, 0.0)}
STRINGS = ("", "no-such-thing", "bad name!", "x" * 300, None)
UNKNOWN_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
UUIDS = (uuid.UUID(int=0), UNKNOWN_ID)
BYTES = (b"", b"\x01\x02garbage", None)


def variants(request: Schema, version: int, right: dict, spared=frozenset()) -> dict[str, dict]:
    """Wrong trees by name. `spared` fields keep their value, as a wrong one would only make the
    broker wait."""
    found = {}
    for path, field, value in leaves(request.fields, version, right):
        if field.name in spared:
            continue
        for name, wrong in wrongs(field, value):
            tree = copy.deepcopy(right)
            put(tree, path, wrong)
            found[f"{'.'.join(map(str, path))}={name}"] = tree
    return found


def leaves(fields: tuple, version: int, tree: dict, at=()):
    """Every field that this version has, also those of the first element of each array."""
    for field in fields:
        if version not in field.versions:
            continue
        value = tree.get(field.name, field.default)
        path = (*at, field.name)
        yield path, field, value
        if not field.is_struct() or not value:
            continue
        if field.kind == "array":
            yield from leaves(field.fields, version, value[0], (*path, 0))
        else:
            yield from leaves(field.fields, version, value, path)


def wrongs(field: Field, value):
    if field.kind == "array":
        yield "null", None
        if value:
            yield "none", []
            yield "twice", [value[0], *copy.deepcopy(value)]
        if field.element in INTEGERS:
            yield from ((f"[{wrong}]", [wrong]) for wrong in INTEGERS[field.element])
        elif field.element == "string":
            yield from ((shorten(wrong), [wrong]) for wrong in STRINGS)
        elif field.element == "uuid":
            yield from ((str(wrong), [wrong]) for wrong in UUIDS)
        return
    if field.kind == "bool":
        yield str(not value), not value
        return
    choices = {**INTEGERS, "string": STRINGS, "uuid": UUIDS, "bytes": BYTES, "records": BYTES}
    for wrong in choices.get(field.kind, ()):
        if wrong != value:
            yield shorten(wrong), wrong


def shorten(value) -> str:
    if isinstance(value, str) and len(value) > 20:
        return f"{len(value)} letters"
    return "null" if value is None else repr(value) if isinstance(value, bytes) else str(value)


def put(tree, path: tuple, value) -> None:
    for step in path[:-1]:
        tree = tree[step] if isinstance(step, int) else tree.setdefault(step, {})
    tree[path[-1]] = value
