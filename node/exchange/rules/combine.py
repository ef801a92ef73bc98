"""The weighted sum of decoded parts, in row order and float32."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from node.exchange.buffers import scratch
from node.ports import FloatVector

CHUNK = 32 * 1024
"""Coordinates summed at once, so that accumulator and scratch stay in cache."""
LARGEST = np.finfo(np.float32).max
SMALLEST = np.finfo(np.float32).tiny


def combine_weighted(rows: Sequence[FloatVector], weights: npt.NDArray[np.float64]) -> FloatVector:
    """``sum weights[i] * rows[i]``, finite, in a new buffer. Shape [D].

    Each weight is rounded to float32, subnormal ones to 0; products are added in row order, and
    the sum is clamped to the finite range.

    Args:
        rows: M vectors of shape [D], float32, finite.
        weights: Shape [M], magnitudes at most 1.

    Raises:
        ValueError: no rows, shapes disagree, or a weight is out of range.
    """
    if not rows or weights.shape != (len(rows),) or any(r.shape != rows[0].shape for r in rows):
        raise ValueError("rows of one length, and a weight for each, are needed")
    if not (np.abs(weights) <= 1.0).all():
        raise ValueError("a weight is not within [-1, 1]")
    total = np.empty(len(rows[0]), np.float32)
    narrow = weights.astype(np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, len(total), CHUNK):
            at = slice(start, min(start + CHUNK, len(total)))
            combine_into(rows, narrow, at, total[at])
    return total


def combine_into(
    rows: Sequence[FloatVector],
    weights: npt.NDArray[np.float32],
    at: slice,
    out: FloatVector,
) -> None:
    """``sum weights[i] * rows[i][at]`` into ``out``. Equal weights are applied to the sum."""
    used = [k for k, w in enumerate(np.abs(weights).tolist()) if w >= SMALLEST]
    same = len({float(weights[k]) for k in used}) == 1
    line = None if same else scratch(out.shape, np.float32)
    out.fill(0)
    for k in used:
        term = rows[k][at]
        if line is not None:
            term = np.multiply(term, weights[k], out=line)
        np.add(out, term, out=out)
    if same:
        # A sum of 64 rows that overflows is clamped first: inf times a weight would stay inf.
        clamp(out)
        np.multiply(out, weights[used[0]], out=out)
    clamp(out)


def clamp(x: FloatVector) -> None:
    """Into the finite range, in place."""
    np.minimum(x, LARGEST, out=x)
    np.maximum(x, -LARGEST, out=x)
