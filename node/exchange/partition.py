"""How a flat vector is cut into parts, one reducer set for each."""

from itertools import pairwise
from math import ceil

PART_BYTES = 64 * 1024
"""A part is not made smaller than this: below it a call costs more than its bytes."""

Slice = slice
"""``Slice(start, stop)``: half-open range of coordinates of one part."""


def part_slices(d: int, n_electors: int, encoded_bytes: int, *, align: int) -> tuple[slice, ...]:
    """Cut ``d`` coordinates into contiguous parts of nearly equal size.

    There are ``min(n_electors, ceil(encoded_bytes / PART_BYTES))`` parts, but at least one and at
    most one for each codec block: no part is empty, and sizes differ by at most one block.

    Args:
        d: Number of coordinates, at least 1.
        n_electors: Size of the electorate, at least 1.
        encoded_bytes: Size of the whole encoded vector (``Codec.encoded_bytes(d)``).
        align: Codec block, in coordinates; every boundary but the last is a multiple of it.

    Raises:
        ValueError: an argument is below 1 (``encoded_bytes`` below 0).
    """
    if min(d, n_electors, align) < 1 or encoded_bytes < 0:
        raise ValueError(f"cannot cut {d} coordinates for {n_electors} electors, align {align}")
    blocks = ceil(d / align)
    parts = max(1, min(n_electors, ceil(encoded_bytes / PART_BYTES), blocks))
    edges = [min(d, k * blocks // parts * align) for k in range(parts + 1)]
    return tuple(slice(start, stop) for start, stop in pairwise(edges))
