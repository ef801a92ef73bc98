"""CountSketches of decoded parts: they show Gram matrices and results that are not of their rows.

A sketch adds the coordinates of a part, with drawn signs, into drawn buckets, REPEATS times over.
It is linear, and keeps inner products up to a known spread. Who did not know the draw when he
signed a Gram matrix or a result cannot make a false one fit. All sums are of integers
(``gram.IntegerRow``): exact.

Shapes: M rows (contributions), D coordinates of one part, K buckets. A part of at most K
coordinates is its own sketch, and is compared exactly.

Source:
    Charikar, Chen, Farach-Colton 2002, "Finding frequent items in data streams" (CountSketch);
    Pham, Pagh 2013, KDD, Lemma 1: variance of inner products. Kane, Nelson 2014, JACM, "Sparser
    Johnson-Lindenstrauss transforms": why several buckets a coordinate. Differs: buckets and signs
    are hash output, as if independent; repeats are averaged, since a median would not be linear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from node.errors import Malformed
from node.exchange.gram import IntegerGram, IntegerRow

BUCKETS_MAX = 1024
BUCKETS_MIN = 64
ROUND_BYTES = 256 * 1024
"""Sketches of a round stay below it while each part has more than BUCKETS_MIN buckets; all of 64
contributors with 64 parts each are 1 MiB."""
CONTRIBUTOR_BYTES = 32 * 1024
"""Sketches of one contributor."""
REPEATS = 4
"""Draws that share the buckets. Two large coordinates that fall into one bucket spoil one draw."""
SIGMAS = 8.0
"""Standard deviations from which on an inner product is false. The tails of a sum of products are
heavier than a normal distribution's: of 64 buckets, one norm in 10^8 is 8 too long."""
BUCKET_MAX = 2**31 - 1
"""A bucket travels as int32; an honest one stays far below."""

_CONTEXT = "artel v1 sketch"
_CHUNK = 32 * 1024
"""Coordinates handled at once."""

Buckets = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


def bucket_counts(electors: int, part_sizes: Sequence[int]) -> tuple[int, ...]:
    """Buckets of each part: a power of two, or its number of coordinates if that is not more.

    Args:
        electors: n, at least 1: the most contributors.
        part_sizes: coordinates of each part.
    """
    parts = len(part_sizes)
    room = min(ROUND_BYTES // (4 * electors * parts), CONTRIBUTOR_BYTES // (4 * parts))
    count = max(BUCKETS_MIN, min(BUCKETS_MAX, 1 << (room.bit_length() - 1)))
    return tuple(min(count, size) for size in part_sizes)


def sketch_row(values: npt.NDArray[np.int16], beacon: bytes, part: int, buckets: int) -> Buckets:
    """The sketch of one part's integers, exact. Shape [K], int64.

    Args:
        values: Shape [D], as in ``IntegerRow``.
        beacon: 32 bytes from which signs and buckets are drawn.
        part: Which part; each has its own draw.
        buckets: K; D, or a power of two below it: K / REPEATS a draw.
    """
    d = len(values)
    if buckets == d:
        return values.astype(np.int64)
    draw = blake3(beacon + part.to_bytes(4, "little"), derive_key_context=_CONTEXT)
    each = buckets // REPEATS
    total = np.zeros((REPEATS, each))
    for start in range(0, d, _CHUNK):
        numbers = values[start : start + _CHUNK].astype(np.float64)
        raw = draw.digest(length=2 * REPEATS * len(numbers), seek=2 * REPEATS * start)
        for line, words in zip(total, np.frombuffer(raw, "<u2").reshape(REPEATS, -1), strict=True):
            signed = np.where(words < 1 << 15, numbers, -numbers)
            # Sums of integers below 2^48 in float64 are exact in any order.
            line += np.bincount((words & (each - 1)).astype(np.intp), signed, minlength=each)
    return total.astype(np.int64).reshape(-1)


def pack_sketch(sketch: Buckets) -> bytes:
    """As a sketch travels: int32 little-endian."""
    return np.clip(sketch, -BUCKET_MAX, BUCKET_MAX).astype("<i4").tobytes()


def unpack_sketch(data: bytes, buckets: int) -> Buckets:
    """Inverse of ``pack_sketch`` (peer input).

    Raises:
        Malformed: it has not so many buckets.
    """
    if len(data) != 4 * buckets:
        raise Malformed(f"a sketch of {len(data)} bytes where {4 * buckets} are due")
    return np.frombuffer(data, "<i4").astype(np.int64)


@dataclass(frozen=True)
class PartClaim:
    """What is claimed of one part: a Gram matrix by reducers, sketches by contributors."""

    gram: IntegerGram
    """Shape [M, M]; the committed squared norms are its diagonal."""
    sketches: Buckets
    """Shape [M, K]."""
    exponents: tuple[int, ...]
    """Power-of-two scale of each row, as committed."""
    coordinates: int
    """D."""

    @property
    def hashed(self) -> bool:
        """Whether the sketches are shorter than the part."""
        return int(self.sketches.shape[1]) < self.coordinates

    @property
    def repeats(self) -> int:
        """How often a coordinate is in its sketch: a product of two sketches counts it so often."""
        return REPEATS if self.hashed else 1


def gram_mismatch(claims: Sequence[PartClaim]) -> str | None:
    """Why the sketches do not belong to rows with these Gram matrices; None if they may.

    Looks at each part alone, then at the sums over all parts, which rules are functions of. An
    inner product of K buckets has a variance of at most ``(|x|^2 |y|^2 + (x y)^2) / K``.

    Args:
        claims: one a part, of the same rows. Peers may have written all of it.
    """
    m = len(claims[0].exponents)
    error, variance = np.zeros((m, m)), np.zeros((m, m))
    for part, claim in enumerate(claims):
        claimed = claim.gram.astype(np.float64)
        off = _products(claim.sketches) / claim.repeats - claimed
        norms = claimed.diagonal()
        spread = np.zeros((m, m))
        if claim.hashed:
            spread = (np.outer(norms, norms) + claimed * claimed) / claim.sketches.shape[1]
        if (pair := _largest(off, spread)) is not None:
            return f"part {part}: the sketches of rows {pair} do not fit its Gram matrix"
        scale = np.add.outer(np.array(claim.exponents), np.array(claim.exponents))
        error += np.ldexp(off, scale)
        variance += np.ldexp(spread, 2 * scale)
    if (pair := _largest(error, variance)) is not None:
        return f"the sketches of rows {pair} do not fit the sum of the Gram matrices"
    return None


def _largest(off: Numbers, variance: Numbers) -> str | None:
    wrong = np.argwhere(np.triu(off * off > SIGMAS * SIGMAS * variance))
    return f"{wrong[0][0]} and {wrong[0][1]}" if len(wrong) else None


def _products(sketches: Buckets) -> Numbers:
    """Inner products of all rows: integer matrix products in float64, exact in any order."""
    high, low = sketches >> 16, sketches & 0xFFFF  # |high| <= 2^15: sums stay below 2^43
    a, b = high.astype(np.float64), low.astype(np.float64)
    mixed = a @ b.T
    return (a @ a.T) * 2.0**32 + (mixed + mixed.T) * 2.0**16 + b @ b.T


def result_mismatch(
    claim: PartClaim,
    weights: Sequence[float],
    result: IntegerRow,
    sketch: Buckets,
    codec_error: float,
) -> str | None:
    """Why a result is not the weighted sum of rows with these sketches; None if it may be.

    The tolerance is the longest that rounding can make the difference: of the result by its codec,
    of rows and result to 15-bit integers, and of float32 sums. Typical rounding is 0.6 of that, and
    a sketch changes a length by ``1 / sqrt(2 K)``, so an honest result fits but for odd parts,
    where nothing is lost but time.

    Args:
        claim: what is claimed of the part.
        weights: Shape [M], as applied.
        result: the decoded result in integers.
        sketch: its sketch. Shape [K].
        codec_error: longest difference that the result codec makes (``Codec.error_norm``).
    """
    narrow = np.array(weights).astype(np.float32).astype(np.float64)
    off = -np.ldexp(sketch.astype(np.float64), result.exponent)
    room = 0.0
    sums = 0.0
    half = math.sqrt(claim.coordinates) / 2
    norms = claim.gram.diagonal().tolist()
    for row, exponent, weight, norm in zip(
        claim.sketches, claim.exponents, narrow.tolist(), norms, strict=True
    ):
        off += weight * np.ldexp(row.astype(np.float64), exponent)
        room += abs(weight) * math.ldexp(half, exponent)
        sums += abs(weight) * math.ldexp(math.sqrt(norm) + half, exponent)
    room += math.ldexp(half, result.exponent) + codec_error
    room += (len(norms) + 1) * 2.0**-24 * sums
    length = math.sqrt(math.fsum((off * off).tolist()) / claim.repeats)
    if length <= room * (1 + 1e-9):
        return None
    return f"the result is {length:.3g} from the weighted sum of its rows, {room:.3g} allowed"
