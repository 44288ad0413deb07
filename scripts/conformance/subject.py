"""One API as it is compared: a right request, further cases, and what of its answers counts."""

from collections.abc import Callable
from dataclasses import dataclass, field

from conformance.world import World

# Makes the body of a request in a version, or asks by itself (`world.call`) and returns nothing.
Ask = Callable[[World, int], dict | None]


@dataclass
class Subject:
    """What to ask of an API. `right` prepares what it needs each time that it is called."""

    api: str
    right: Ask
    cases: dict[str, Ask] = field(default_factory=dict)
    # Fields whose wrong values would only make the broker wait, or create a million things.
    spared: frozenset = frozenset()
    # Variants of the right request that would tell nothing, for the reason beside them.
    omitted: frozenset = frozenset()
    # Takes out of an answer what other cases have left there.
    only: Callable[[World, dict], None] = lambda world, answer: None
    # Versions in which a case means something, where that is not all.
    since: dict[str, int] = field(default_factory=dict)
