"""Comparison of steps that machines of two compute classes took: by the lengths of the parts.

Pure. Rounding differs between classes, and training may carry a last bit far: here the update of
one round differed by up to half its length between two kernels, its parts' lengths by at most 3 %
(docs/results/audits.md). So what strays in length is worth a look; it is never evidence.
"""

import math
from collections.abc import Sequence

from node.wire.messages import PartCommitment

LENGTH_TOLERANCE = 0.1
"""Of a part of the update, as a share of its length."""


def strays(claimed: Sequence[PartCommitment], replayed: Sequence[PartCommitment]) -> bool:
    """Whether a part's length is not what a replay on another class of machine gives.

    Both are of one job, and so of as many parts; a part without length has none in both.
    """
    return any(
        abs(length(one) - length(other)) > LENGTH_TOLERANCE * length(other)
        for one, other in zip(claimed, replayed, strict=True)
    )


def length(part: PartCommitment) -> float:
    """Of an encoded part, as its author committed to it."""
    return math.ldexp(math.sqrt(part.square_norm), part.exponent)
