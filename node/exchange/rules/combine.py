"""The weighted sum of decoded parts, in row order and float32."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
    terms = [
        (row, w) for row, w in zip(rows, weights.astype(np.float32), strict=True)
        if abs(w) >= SMALLEST
    ]  # fmt: skip
    total = np.empty(len(rows[0]), np.float32)
    scratch = np.empty(min(CHUNK, len(total)), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, len(total), CHUNK):
            acc = total[start : start + CHUNK]
            product = scratch[: len(acc)]
            acc.fill(0)
            for row, weight in terms:
                np.multiply(row[start : start + CHUNK], weight, out=product)
                np.add(acc, product, out=acc)
            np.minimum(acc, LARGEST, out=acc)
            np.maximum(acc, -LARGEST, out=acc)
    return total
