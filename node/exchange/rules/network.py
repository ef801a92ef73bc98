"""Sorting networks: all columns of a chunk of rows are sorted at once by minima and maxima.

A network leaves out what its outputs do not need, and works in place on a few buffers in cache.

Shapes: M rows, D coordinates.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from node.exchange.buffers import scratch
from node.ports import FloatVector

CHUNK = 8 * 1024
"""Columns sorted at once."""


def network_chunks(
    rows: Sequence[FloatVector], first: int, stop: int
) -> Iterator[tuple[slice, list[FloatVector]]]:
    """``sorted_chunks`` by a network."""
    m, d = len(rows), len(rows[0])
    steps = comparators(m, first, stop)
    lines: npt.NDArray[np.float32] = scratch((m + 1, min(CHUNK, d)), np.float32)
    for start in range(0, d, CHUNK):
        at = slice(start, min(start + CHUNK, d))
        wires = list(lines[:m, : at.stop - start])
        spare: npt.NDArray[np.float32] = lines[m, : at.stop - start]
        for wire, row in zip(wires, rows, strict=True):
            np.copyto(wire, row[at])
        for i, j, low, high in steps:
            if low and high:
                np.minimum(wires[i], wires[j], out=spare)
                np.maximum(wires[i], wires[j], out=wires[j])
                wires[i], spare = spare, wires[i]
            elif low:
                np.minimum(wires[i], wires[j], out=wires[i])
            else:
                np.maximum(wires[i], wires[j], out=wires[j])
        yield at, wires[first:stop]


@lru_cache(maxsize=256)
def comparators(m: int, first: int, stop: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """A network that puts the sorted values ``first`` to ``stop`` of ``m`` wires in their places.

    Returns:
        Comparators (i, j, minimum is needed at i, maximum is needed at j), i < j, in order.

    Source: Batcher 1968, odd-even merge sort, in the iterative form of Knuth 5.2.2, Algorithm M.
    """
    pairs: list[tuple[int, int]] = []
    top = 1 << max(m - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(m - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed = set(range(first, stop))
    steps: list[tuple[int, int, bool, bool]] = []
    for i, j in reversed(pairs):
        low, high = i in needed, j in needed
        if low or high:
            steps.append((i, j, low, high))
            needed |= {i, j}
    return tuple(reversed(steps))
