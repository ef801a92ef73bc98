"""Inner products of all updates, exact in integers, so that every machine gets the same bits.

Each decoded part is rounded to 15-bit integers with its own power-of-two scale. A fp64 matrix
product over chunks of columns then sums integers below 2^53: exact in any order, on any BLAS
kernel and thread count. Rounding moves an inner product by about 1e-6 relative.

Shapes: N rows (contributions), D coordinates of one part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from node.errors import Malformed
from node.exchange.buffers import lines_up, scratch
from node.ports import FloatVector
from node.wire.limits import EXPONENT_MAX, EXPONENT_MIN

QUANTISED_MAX = 1 << 14
"""Largest magnitude of a rounded coordinate."""
CHUNK = 32 * 1024
"""Most columns multiplied at once. QUANTISED_MAX**2 * CHUNK = 2^43 is below 2^53."""
CHUNK_BYTES = 1 << 20
"""A chunk of all rows in float64 stays in the cache of one core."""
BLOCK = 4
"""Rows of one product."""
ROUNDED = 8 * 1024
"""Columns of all rows rounded at once in ``gram_of``."""
PART = 64 * 1024
"""Columns with one scale in ``gram_of``."""
COORDINATES_MAX = 1 << 34
"""QUANTISED_MAX**2 * COORDINATES_MAX stays below 2^63."""

IntegerGram = npt.NDArray[np.int64]
Gram = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IntegerRow:
    """One part of one update in integers: ``values * 2**exponent`` is the rounded part."""

    values: npt.NDArray[np.int16]
    """Shape [D], magnitudes at most QUANTISED_MAX."""
    exponent: int
    """Within [EXPONENT_MIN, EXPONENT_MAX]; 0 for a zero row."""

    @cached_property
    def sq_norm(self) -> int:
        """Sum of the squared values, exact; the row's diagonal element in ``integer_gram``."""
        chunk = np.empty(CHUNK)
        total = 0
        for start in range(0, len(self.values), CHUNK):
            part = self.values[start : start + CHUNK]
            wide = chunk[: len(part)]
            np.copyto(wide, part)
            total += int(np.dot(wide, wide))
        return total


def quantise_row(x: FloatVector) -> IntegerRow:
    """Round a decoded part to integers, the largest magnitude into [2^13, 2^14].

    Args:
        x: Shape [D], float32, finite (decoders see to it), contiguous.

    Raises:
        ValueError: a value is not finite.
    """
    values = np.empty(len(x), np.int16)
    scale = _scale_of(x)
    if scale is None:
        values.fill(0)
        return IntegerRow(values, 0)
    line = scratch((min(CHUNK, len(x)),), np.float32)
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        y = line[: len(part)]
        scale.multiply_into(part, y)
        np.rint(y, out=y)
        np.copyto(values[start : start + CHUNK], y, casting="unsafe")
    return IntegerRow(values, scale.exponent)


@dataclass(frozen=True)
class _Scale:
    """Multiplies by ``2**-exponent``, in two exact steps where one does not fit float32."""

    near: np.float32
    far: np.float32 | None
    exponent: int

    def multiply_into(self, x: FloatVector, out: FloatVector) -> None:
        # What becomes subnormal on the way is far below one half and rounds to zero in any mode.
        np.multiply(x, self.near, out=out)
        if self.far is not None:
            np.multiply(out, self.far, out=out)


def _scale_of(x: FloatVector) -> _Scale | None:
    """The scale of a part; None if all of it is zero."""
    top = max(float(np.maximum.reduce(x)), -float(np.minimum.reduce(x))) if len(x) else 0.0
    if not math.isfinite(top):
        raise ValueError("a row to quantise is not finite")
    if top == 0.0:
        return None
    shift = 14 - math.frexp(top)[1]
    first = max(-126, min(shift, 127))
    near = np.float32(math.ldexp(1.0, first))
    far = np.float32(math.ldexp(1.0, shift - first)) if shift != first else None
    return _Scale(near, far, -shift)


def integer_gram(rows: Sequence[IntegerRow]) -> IntegerGram:
    """All inner products of the rows' integers, exact. Shape [N, N], symmetric.

    Limits:
        Two float64 buffers, of CHUNK_BYTES and [N, N]; O(N^2 D) multiply-adds.

    Raises:
        ValueError: no rows, lengths that differ, or more than COORDINATES_MAX coordinates.
    """
    d = len(rows[0].values) if rows else 0
    if not rows or any(len(row.values) != d for row in rows) or d > COORDINATES_MAX:
        raise ValueError("rows of a Gram matrix must have one length within the limit")
    sums = _Sums(len(rows), d)
    for start in range(0, d, sums.columns):
        chunk = sums.chunk(min(sums.columns, d - start))
        for wide, row in zip(chunk, rows, strict=True):
            np.copyto(wide, row.values[start : start + sums.columns])
        sums.add(chunk.shape[1])
    return sums.take()


def gram_of(rows: Sequence[FloatVector]) -> Gram:
    """The Gram matrix of whole vectors in one place, without storing their integers.

    The same numbers as from parts of PART columns: ``assemble_gram`` of ``integer_gram`` of
    ``quantise_row``. Shape [N, N].

    Args:
        rows: Vectors of one length, float32, finite.

    Raises:
        ValueError: no rows, lengths that differ, or a value is not finite.
    """
    d = len(rows[0]) if rows else 0
    if not rows or any(len(row) != d for row in rows) or d > COORDINATES_MAX:
        raise ValueError("rows of a Gram matrix must have one length within the limit")
    lines = scratch((len(rows), min(ROUNDED, d)), np.float32)
    sums = _Sums(len(rows), min(PART, d))
    parts = []
    for first in range(0, d, PART):
        after = min(first + PART, d)
        scales = [_scale_of(row[first:after]) for row in rows]
        for start in range(first, after, ROUNDED):
            stop = min(start + ROUNDED, after)
            chunk = lines[:, : stop - start]
            for line, row, scale in zip(chunk, rows, scales, strict=True):
                if scale is None:
                    line.fill(0)
                else:
                    scale.multiply_into(row[start:stop], line)
            # Of all rows at once: with many, calls take as long as the work of a short line.
            np.rint(chunk, out=chunk)
            for left in range(0, stop - start, sums.columns):
                part = chunk[:, left : left + sums.columns]
                np.copyto(sums.chunk(part.shape[1]), part)
                sums.add(part.shape[1])
        parts.append((sums.take(), [0 if s is None else s.exponent for s in scales]))
    return assemble_gram(parts)


class _Sums:
    """Inner products of integers, added up chunk by chunk."""

    def __init__(self, n: int, d: int) -> None:
        self.columns = max(8, min(CHUNK, CHUNK_BYTES // 8 // n // 8 * 8, lines_up(d, np.float64)))
        self._n = n
        self._upper = np.zeros((n, n), np.int64)
        self._buffer: Gram = scratch((n + 1, self.columns), np.float64)
        self._buffer[n].fill(0)
        self._product = np.zeros((n, n + 1))

    def chunk(self, columns: int) -> Gram:
        """A buffer for so many columns, to be filled before ``add``. Shape [N, columns]."""
        return self._buffer[: self._n, :columns]

    def add(self, columns: int) -> None:
        """Add the products of the chunk, BLOCK rows with all that follow at a time.

        A row of zeros follows the last one: numpy hands the product of rows with just themselves to
        another routine of BLAS, which for few rows takes several times as long (measured).
        """
        n, chunk = self._n, self._buffer[:, :columns]
        for k in range(0, n, BLOCK):
            at = slice(k, min(k + BLOCK, n))
            np.matmul(chunk[at], chunk[k:].T, out=self._product[at, k:])
        np.add(self._upper, self._product[:, :n].astype(np.int64), out=self._upper)

    def take(self) -> IntegerGram:
        """The sums since the last call, symmetric."""
        total = np.triu(self._upper) + np.triu(self._upper, 1).T
        self._upper.fill(0)
        return total


def gram_fault(gram: IntegerGram, sq_norms: Sequence[int]) -> str | None:
    """Why a reducer's Gram matrix cannot be one of rows with these squared norms; None if it can.

    The committed norms pin the diagonal, which bounds every other element (Cauchy-Schwarz).
    """
    n = len(sq_norms)
    if gram.shape != (n, n):
        return f"shape {gram.shape} where {(n, n)} is due"
    # Rounded numbers find the few elements near the bound or above it; integers decide on them.
    rounded, norms = gram.astype(np.float64), np.array(sq_norms, np.float64)
    near = rounded * rounded >= (1 - 1e-9) * np.outer(norms, norms)
    doubtful = np.tril(near | (gram != gram.T), -1)
    pinned = gram.diagonal().tolist()
    for i, doubts in enumerate(doubtful.any(axis=1).tolist()):
        if pinned[i] != sq_norms[i]:
            return f"squared norm {i} is {pinned[i]}, committed {sq_norms[i]}"
        for j in np.flatnonzero(doubtful[i]).tolist() if doubts else ():
            if gram[i, j] != gram[j, i]:
                return f"element ({i}, {j}) is not symmetric"
            if int(gram[i, j]) ** 2 > sq_norms[i] * sq_norms[j]:
                return f"element ({i}, {j}) is above the product of its norms"
    return None


def assemble_gram(parts: Sequence[tuple[IntegerGram, Sequence[int]]]) -> Gram:
    """The Gram matrix of the whole updates from those of their parts.

    The sum ``I_ij * 2**(e_i + e_j)`` over parts is taken in exact integers and rounded once, so
    the order of parts does not matter. Only the upper triangles are read.

    Args:
        parts: For each part its integer Gram matrix, shape [N, N], and its rows' exponents,
            length N. Peers may have written both.

    Raises:
        Malformed: shapes disagree or an exponent is out of range.
        ValueError: there are no parts.
    """
    if not parts:
        raise ValueError("a Gram matrix needs at least one part")
    n = len(parts[0][1])
    for gram, exponents in parts:
        if gram.shape != (n, n) or len(exponents) != n:
            raise Malformed(f"a part's Gram matrix is not {n} x {n}")
        if any(not EXPONENT_MIN <= e <= EXPONENT_MAX for e in exponents):
            raise Malformed("a row's exponent is out of range")
    base = 2 * min(e for _, exponents in parts for e in exponents)
    sums = [[0] * n for _ in range(n)]
    for gram, exponents in parts:
        for i, cells in enumerate(gram.tolist()):
            shift, row = exponents[i] - base, sums[i]
            for j in range(i, n):
                row[j] += cells[j] << (shift + exponents[j])
    whole = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            # At most 63 + 552 bits and a few: float() rounds once and the scaling is exact.
            whole[i, j] = whole[j, i] = math.ldexp(float(sums[i][j]), base)
    return whole
