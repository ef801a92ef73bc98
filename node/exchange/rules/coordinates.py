"""Rules that sort each coordinate, by a sorting network of minima and maxima over whole rows.

A network sorts all columns of a chunk at once and leaves out what its outputs do not need.
Minimum and maximum of zeros of both signs depend on the CPU; sums that start from +0 do not.

Shapes: M rows, D coordinates.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from node.ports import FloatVector

CHUNK = 8 * 1024
"""Columns sorted at once."""
LARGEST = np.finfo(np.float32).max

Rows = npt.NDArray[np.float32]


def trimmed_mean(rows: Rows, f: int) -> FloatVector:
    """Average each coordinate after dropping its ``f`` lowest and ``f`` highest values.

    Every value kept lies within the honest range, so no liar moves a coordinate out of it.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 2, with beta = f / m.
    """
    m, d = rows.shape
    total = np.empty(d, np.float32)
    kept = np.float32(m - 2 * f)
    for start, ordered in _sorted_chunks(rows, f, m - f):
        acc = total[start : start + CHUNK]
        acc.fill(0)
        for row in ordered:
            np.add(acc, row, out=acc)
        np.divide(acc, kept, out=acc)
        np.minimum(acc, LARGEST, out=acc)
        np.maximum(acc, -LARGEST, out=acc)
    return total


def median(rows: Rows, f: int) -> FloatVector:
    """The middle value of each coordinate, or the mean of the two middle ones.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 1.
    """
    del f
    m, d = rows.shape
    middle = np.empty(d, np.float32)
    low = (m - 1) // 2
    for start, ordered in _sorted_chunks(rows, low, m // 2 + 1):
        out = middle[start : start + CHUNK]
        out.fill(0)
        for row in ordered:
            # Halved first, the sum of two values cannot overflow.
            part = np.multiply(row, np.float32(0.5), out=row) if len(ordered) == 2 else row
            np.add(out, part, out=out)
    return middle


def _sorted_chunks(rows: Rows, first: int, stop: int) -> Iterator[tuple[int, list[FloatVector]]]:
    """For each chunk of columns its start and, ascending, the sorted rows ``first`` to ``stop``.

    The rows yielded are scratch buffers: the next chunk overwrites them.
    """
    m, d = rows.shape
    steps = comparators(m, first, stop)
    scratch = np.empty((m + 1, min(CHUNK, d)), np.float32)
    for start in range(0, d, CHUNK):
        width = min(CHUNK, d - start)
        wires = list(scratch[:m, :width])
        spare = scratch[m, :width]
        np.copyto(scratch[:m, :width], rows[:, start : start + width])
        for i, j, low, high in steps:
            if low and high:
                np.minimum(wires[i], wires[j], out=spare)
                np.maximum(wires[i], wires[j], out=wires[j])
                wires[i], spare = spare, wires[i]
            elif low:
                np.minimum(wires[i], wires[j], out=wires[i])
            else:
                np.maximum(wires[i], wires[j], out=wires[j])
        yield start, wires[first:stop]


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
