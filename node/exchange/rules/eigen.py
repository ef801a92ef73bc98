"""Largest eigenvalue and eigenvector of small symmetric matrices, in the same bits everywhere.

LAPACK's results depend on the CPU and the number of threads. Here: Householder's reduction to a
tridiagonal matrix, the largest eigenvalue by bisection with the signs of LDL^T pivots (Sturm), its
vector by inverse iteration with the same factorisation. The number of operations is fixed by the
size; only + - * / sqrt and comparisons in a fixed order are used.

Errors are a few units of rounding of the matrix norm; where the largest eigenvalue is not alone,
the vector is some vector of its eigenspace.

Shapes: [..., N, N] for any number of matrices at once, N <= 64.

Source: Golub & Van Loan 2013, "Matrix Computations", 8.3.1 (reduction) and 8.4.1 (bisection).
"""

import math
from dataclasses import dataclass

import numpy as np

from node.exchange.rules.space import Floats, product, running

SECTIONS = 32
"""Pieces that a pass of the bisection cuts its interval into."""
PASSES = 11
"""SECTIONS**PASSES = 2^55: the interval ends below one unit of rounding."""
INVERSE_STEPS = 3
"""Each divides what is not the vector by about (gap / rounding)."""
PIVOT_LEAST = 2.0**-60


@dataclass(frozen=True)
class Tridiagonal:
    """``Q^T A Q / scale``: its diagonals, and how to come back."""

    diagonal: Floats
    """Shape [..., N]."""
    off: Floats
    """Shape [..., N - 1]."""
    reflectors: tuple[tuple[Floats, Floats], ...]
    """Householder vectors [..., N - 1 - k] and their factors [...], in order."""
    scale: Floats
    """Powers of two. Shape [...]."""


def tridiagonal(matrices: Floats) -> Tridiagonal:
    """Reduce finite symmetric matrices; only the lower triangles decide."""
    n = matrices.shape[-1]
    tops = np.abs(matrices).max(axis=(-2, -1))
    scale = np.ldexp(1.0, np.frexp(tops)[1])
    a = matrices / scale[..., None, None]
    diagonal, off = np.empty(a.shape[:-1]), np.zeros((*a.shape[:-2], max(n - 1, 0)))
    reflectors = []
    for k in range(n - 1):
        diagonal[..., k] = a[..., 0, 0]
        x, rest = a[..., 1:, 0], a[..., 1:, 1:]
        if k == n - 2:
            off[..., k] = x[..., 0]
            a = rest
            break
        length = np.sqrt(running(x * x))
        pivot = -np.copysign(length, x[..., 0])
        off[..., k] = pivot
        v = x.copy()
        v[..., 0] -= pivot
        sq = running(v * v)
        factor = np.where(sq > 0.0, 2.0 / np.where(sq > 0.0, sq, 1.0), 0.0)
        p = factor[..., None] * product(rest, v)
        half = 0.5 * factor * running(p * v)
        q = p - half[..., None] * v
        outer = v[..., :, None] * q[..., None, :]
        a = rest - outer - np.swapaxes(outer, -1, -2)
        reflectors.append((v, factor))
    diagonal[..., n - 1] = a[..., 0, 0]
    return Tridiagonal(diagonal, off, tuple(reflectors), scale)


def _bracket(t: Tridiagonal) -> tuple[Floats, Floats]:
    """Bounds of the largest eigenvalue of the scaled matrices, a unit of rounding apart."""
    beside = np.zeros_like(t.diagonal)
    size = np.abs(t.off)
    beside[..., :-1] += size
    beside[..., 1:] += size
    low, high = t.diagonal.max(axis=-1), (t.diagonal + beside).max(axis=-1)
    off_sq = t.off * t.off
    steps = np.arange(1, SECTIONS) / SECTIONS
    for _ in range(PASSES):
        shifts = low[..., None] + (high - low)[..., None] * steps
        pivot = t.diagonal[..., :1] - shifts
        above = pivot < 0.0
        for k in range(off_sq.shape[-1]):
            pivot = (t.diagonal[..., k + 1, None] - shifts) - off_sq[..., k, None] / pivot
            above &= pivot < 0.0
        # All pivots negative: the shift is above every eigenvalue. True from some shift on.
        edges = np.concatenate([low[..., None], shifts, high[..., None]], axis=-1)
        at = np.where(above.any(axis=-1), above.argmax(axis=-1), SECTIONS - 1)[..., None]
        low = np.take_along_axis(edges, at, axis=-1)[..., 0]
        high = np.take_along_axis(edges, at + 1, axis=-1)[..., 0]
    return low, high


def top_eigenvalues(matrices: Floats) -> Floats:
    """The largest eigenvalue of each matrix. Shape [...]."""
    with np.errstate(all="ignore"):
        t = tridiagonal(matrices)
        values: Floats = _bracket(t)[1] * t.scale
    return values


def top_pair(matrix: Floats) -> tuple[float, Floats]:
    """The largest eigenvalue of one matrix, shape [N, N], and its vector of length 1."""
    with np.errstate(all="ignore"):
        t = tridiagonal(matrix)
        diagonal, off = t.diagonal.tolist(), t.off.tolist()
        high = _top_value(diagonal, off)
        y = _inverse_iteration(diagonal, off, high)
        for k in range(len(t.reflectors) - 1, -1, -1):
            v, factor = t.reflectors[k]
            tail = y[k + 1 :]
            tail -= float(factor) * math.fsum((v * tail).tolist()) * v
    return high * float(t.scale), y / math.sqrt(math.fsum((y * y).tolist()))


def _top_value(diagonal: list[float], off: list[float]) -> float:
    """``_bracket`` of one matrix, its upper bound, to the bit, and much faster than by arrays.

    A shift above another one makes no pivot larger, rounding included, as long as all are
    negative. So the first section above every eigenvalue is found by halving.
    """
    beside = [0.0, *map(abs, off), 0.0]
    low = max(diagonal)
    sides = zip(diagonal, beside[:-1], beside[1:], strict=True)
    high = max(d + (left + right) for d, left, right in sides)
    off_sq = [e * e for e in off]
    for _ in range(PASSES):
        width, first, last = high - low, 0, SECTIONS
        while last - first > 1:
            middle = (first + last) // 2
            if _above(diagonal, off_sq, low + width * (middle / SECTIONS)):
                last = middle
            else:
                first = middle
        low, high = (
            low + width * (first / SECTIONS) if first > 0 else low,
            low + width * (last / SECTIONS) if last < SECTIONS else high,
        )
    return high


def _above(diagonal: list[float], off_sq: list[float], shift: float) -> bool:
    """Is ``shift`` above every eigenvalue: are all pivots of LDL^T negative?"""
    pivot = diagonal[0] - shift
    for d, sq in zip(diagonal[1:], off_sq, strict=True):
        if not pivot < 0.0:
            return False
        pivot = (d - shift) - sq / pivot
    return pivot < 0.0


def _inverse_iteration(diagonal: list[float], off: list[float], shift: float) -> Floats:
    """The top vector of a tridiagonal matrix, for a shift just above its eigenvalue."""
    n = len(diagonal)
    pivots = [max(shift - diagonal[0], PIVOT_LEAST)]
    for d, e in zip(diagonal[1:], off, strict=True):
        pivots.append(max(shift - d - e * e / pivots[-1], PIVOT_LEAST))
    # No vector is orthogonal to every start; this one is to none that symmetry would give.
    y = [1.0 + 0.37 * (k % 5) for k in range(n)]
    for _ in range(INVERSE_STEPS):
        for k in range(1, n):
            y[k] += off[k - 1] / pivots[k - 1] * y[k - 1]
        y[-1] /= pivots[-1]
        for k in range(n - 2, -1, -1):
            y[k] = (y[k] + off[k] * y[k + 1]) / pivots[k]
        most = max(map(abs, y))
        y = [value / most for value in y]
    return np.array(y)
