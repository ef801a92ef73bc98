"""Which parts of a checked round are computed again, and by whom: drawn by the round's beacon.

Pure. Sketches see lies above their tolerance in the round; what is below is looked for afterwards,
in few parts, bit for bit. docs/protocol.md, "Openings of parts".

Source: Gorbunov et al. 2022, arXiv:2106.11257, Algorithm 2 (validators drawn at random recompute).
"""

from collections.abc import Collection

from node.ledger.electorate import Electorate
from node.merkle import digest
from node.types import Digest


def drawn_parts(beacon: Digest, parts: int, rate: float) -> tuple[int, ...]:
    """Parts that are computed again, each with chance ``rate``, rising."""
    limit = int(rate * 2**64)
    draws = (digest("part draw", beacon + bytes([part])) for part in range(parts))
    return tuple(p for p, draw in enumerate(draws) if int.from_bytes(draw[:8], "big") < limit)


def recomputer(
    beacon: Digest, part: int, reducers: Collection[int], electorate: Electorate
) -> int | None:
    """The elector that computes a drawn part again, no reducer of it; None: all reduced it."""
    others = (e for e in range(electorate.n) if e not in reducers)
    return min(
        others,
        key=lambda e: digest("part auditor", beacon + bytes([part]) + electorate.keys[e][0]),
        default=None,
    )
