"""One list of a leader and what came back, and when results agree: shared by leader and voters.

Pure. docs/protocol.md, "Leader".
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from node.exchange.core import PlanState
from node.types import Digest
from node.wire.messages import PartScreen, Signed


@dataclass
class Attempt:
    """One list of this leader, and what came back."""

    view: int
    wide: bool
    list_id: Digest
    haves: tuple[Signed, ...]
    screens: dict[int, dict[int, PartScreen]] = field(default_factory=dict)
    signed_screens: dict[int, Signed] = field(default_factory=dict)
    plan_id: Digest | None = None
    results: dict[int, tuple[Signed, dict[int, Digest]]] = field(default_factory=dict)
    seal_id: Digest | None = None
    reveals: dict[int, Signed] = field(default_factory=dict)
    beacon_id: Digest | None = None
    sketches: dict[int, tuple[Signed, tuple[bytes, ...]]] = field(default_factory=dict)
    failed: bool = False
    """Its answers cannot be checked, or are refuted: more reducers must answer."""


def agreed_roots(
    state: PlanState, results: Mapping[int, Mapping[int, Digest]], need: int
) -> tuple[Digest, ...] | None:
    """For each part the root that at least ``need`` of its reducers signed; None while one lacks.

    Args:
        state: the plan.
        results: reducer -> part -> root, signatures checked.
        need: equal results that a part needs.
    """
    roots: list[Digest] = []
    for part, reducers in enumerate(state.resolution.reducers):
        count: dict[Digest, int] = defaultdict(int)
        for reducer in reducers:
            root = results.get(reducer, {}).get(part)
            if root is not None:
                count[root] += 1
        best = min(count, key=lambda r: (-count[r], r), default=None)
        if best is None or count[best] < need:
            return None
        roots.append(best)
    return tuple(roots)
