"""Sketches against their definition, and what they refute: false products, false results."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.exchange.codecs import CODECS
from node.exchange.gram import integer_gram, quantise_row
from node.exchange.rules import combine_weighted
from node.exchange.sketch import (
    BUCKETS_MAX,
    BUCKETS_MIN,
    CONTRIBUTOR_BYTES,
    REPEATS,
    PartClaim,
    bucket_counts,
    gram_mismatch,
    pack_sketch,
    result_mismatch,
    sketch_row,
    unpack_sketch,
)
from node.ports import FloatVector

M, D, K = 7, 3000, 256


def naive_sketch(values: list[int], beacon: bytes, part: int, buckets: int) -> list[int]:
    """One coordinate, one draw and one bucket at a time."""
    if buckets == len(values):
        return values
    each, chunk = buckets // REPEATS, 32 * 1024
    stream = blake3(beacon + part.to_bytes(4, "little"), derive_key_context="artel v1 sketch")
    raw = stream.digest(length=2 * REPEATS * len(values))
    total = [0] * buckets
    for at, value in enumerate(values):
        first = at // chunk * chunk
        width = min(chunk, len(values) - first)
        for draw in range(REPEATS):
            place = 2 * (REPEATS * first + draw * width + at - first)
            word = int.from_bytes(raw[place : place + 2], "little")
            total[draw * each + word % each] += -value if word >> 15 else value
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.sampled_from([4, 16, 64, 1024]))
@settings(max_examples=30, deadline=None)
def test_a_sketch_is_what_its_definition_says(seed: int, d: int, buckets: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-(2**14), 2**14 + 1, d).astype(np.int16)
    beacon, part, k = rng.bytes(32), int(rng.integers(64)), min(buckets, d)
    found = sketch_row(values, beacon, part, k)
    assert found.tolist() == naive_sketch(values.tolist(), beacon, part, k)
    assert unpack_sketch(pack_sketch(found), k).tolist() == found.tolist()


def test_chunks_of_long_parts_are_drawn_in_turn() -> None:
    values = np.random.default_rng(0).integers(-100, 100, 70_000).astype(np.int16)
    assert sketch_row(values, bytes(32), 1, 64).tolist() == naive_sketch(
        values.tolist(), bytes(32), 1, 64
    )


@pytest.mark.parametrize("n", [4, 10, 13, 33, 64])
def test_sketches_stay_under_their_limits(n: int) -> None:
    for parts in (1, n // 2, n, 64):
        counts = bucket_counts(n, [10**6] * parts)
        assert 4 * sum(counts) <= CONTRIBUTOR_BYTES
        assert n * 4 * sum(counts) <= 1 << 20
        assert BUCKETS_MIN <= counts[0] <= BUCKETS_MAX
        assert counts[0] & (counts[0] - 1) == 0
    assert bucket_counts(n, [5, 10**6])[0] == 5


def test_a_sketch_of_another_size_is_refused() -> None:
    with pytest.raises(Malformed, match="12 bytes where 16"):
        unpack_sketch(bytes(12), 4)


Kind = str


def rows_of(kind: Kind, rng: np.random.Generator, d: int = D) -> list[FloatVector]:
    noise = rng.normal(size=(M, d))
    if kind == "heavy":  # few coordinates hold most of the length
        noise = rng.standard_t(2, size=(M, d)) * rng.standard_t(2, size=d)
    elif kind == "sparse":
        noise *= rng.random((M, d)) < 0.01
        noise[:, 0] = 1
    common = 0.7 * rng.normal(size=d) if kind == "dense" else 0.0
    int8 = CODECS["int8"]
    whole = (noise + common).astype(np.float32)
    return [int8.decode(int8.encode(x), d) for x in whole]


def claim_of(rows: list[FloatVector], beacon: bytes, part: int = 0) -> PartClaim:
    d = len(rows[0])
    integers = [quantise_row(x) for x in rows]
    k = min(K, d)
    sketches = np.stack([sketch_row(row.values, beacon, part, k) for row in integers])
    return PartClaim(integer_gram(integers), sketches, tuple(r.exponent for r in integers), d)


def refuted(
    claim: PartClaim, weights: list[float], result: FloatVector, codec: str, beacon: bytes
) -> str | None:
    made, d = CODECS[codec], len(result)
    data = made.encode(result)
    row = quantise_row(made.decode(data, d))
    longest = math.ldexp(math.sqrt(row.sq_norm) + math.sqrt(d) / 2, row.exponent)
    sketch = sketch_row(row.values, beacon, 0, min(K, d))
    return result_mismatch(claim, weights, row, sketch, made.error_norm(data, d, longest))


def weights_of(rng: np.random.Generator) -> list[float]:
    drawn = rng.random(M)
    drawn[0] = 0.0
    weights: list[float] = (drawn / drawn.sum()).tolist()
    return weights


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("kind", ["dense", "heavy", "sparse"])
def test_honest_answers_are_not_refuted(kind: Kind, codec: str) -> None:
    rng = np.random.default_rng(1)
    for d in (D, 100, 1):
        for _ in range(4):
            beacon, rows, weights = rng.bytes(32), rows_of(kind, rng, d), weights_of(rng)
            claim = claim_of(rows, beacon)
            assert gram_mismatch([claim]) is None
            result = combine_weighted(rows, np.array(weights))
            assert refuted(claim, weights, result, codec, beacon) is None


TOLERANCE = {"int8": 2e-2, "fp16": 3e-3, "fp32": 2e-3}
"""Codec of results -> from which share of the result on a lie is always seen; dense rows."""


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("spread", ["everywhere", "one block", "one coordinate"])
def test_a_false_result_is_refuted_from_the_codecs_error_on(codec: str, spread: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(4):
        beacon, rows, weights = rng.bytes(32), rows_of("dense", rng), weights_of(rng)
        claim = claim_of(rows, beacon)
        result = combine_weighted(rows, np.array(weights))
        lie = rng.normal(size=D)
        lie[{"everywhere": D, "one block": 256, "one coordinate": 1}[spread] :] = 0
        size = np.linalg.norm(result) / np.linalg.norm(lie)
        for share in (TOLERANCE[codec], 0.1, 10.0):
            false = (result + share * size * lie).astype(np.float32)
            assert refuted(claim, weights, false, codec, beacon) is not None


def lies(gram: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    norms = gram.diagonal().copy()
    zero = np.diag(norms)
    order = np.roll(np.arange(M), 1)
    permuted = gram[np.ix_(order, order)].copy()
    np.fill_diagonal(permuted, norms)
    favour = gram.copy()
    favour[0, 1:] = favour[1:, 0] = np.sqrt(norms[0] * norms[1:].astype(float)).astype(np.int64)
    half = gram // 2
    np.fill_diagonal(half, norms)
    return {"zero": zero, "permuted": permuted, "favour": favour, "half": half}


def test_false_gram_matrices_are_refuted() -> None:
    rng = np.random.default_rng(3)
    rows = rows_of("dense", rng)
    rows = [*rows[:5], *(-2 * x for x in rows[5:])]  # else a permutation changes little
    beacon = rng.bytes(32)
    honest = [claim_of(rows, beacon, part) for part in range(4)]
    assert gram_mismatch(honest) is None
    for name, gram in lies(honest[0].gram).items():
        false = [replace(claim, gram=gram) for claim in honest]
        assert gram_mismatch(false) is not None, name


def test_a_part_that_is_its_own_sketch_bears_no_lie_at_all() -> None:
    rng = np.random.default_rng(4)
    beacon = rng.bytes(32)
    claim = claim_of(rows_of("dense", rng, 50), beacon)
    gram = claim.gram.copy()
    gram[1, 2] += 1
    gram[2, 1] += 1
    assert gram_mismatch([replace(claim, gram=gram)]) is not None


def test_a_lie_in_each_part_too_small_for_its_sketch_is_seen_in_their_sum() -> None:
    rng = np.random.default_rng(5)
    beacon = rng.bytes(32)
    claims = [claim_of(rows_of("dense", rng), beacon, part) for part in range(16)]
    shift = [int(0.3 * math.sqrt(int(c.gram[0, 0]) * int(c.gram[1, 1]))) for c in claims]
    false = []
    for claim, by in zip(claims, shift, strict=True):
        gram = claim.gram.copy()
        gram[0, 1] -= by
        gram[1, 0] -= by
        false.append(replace(claim, gram=gram))
        assert gram_mismatch([false[-1]]) is None
    found = gram_mismatch(false)
    assert found is not None
    assert "sum" in found


def test_a_colluding_sketch_must_keep_the_norm_and_products_it_is_claimed_to_have() -> None:
    """A contributor may stand in for a false result only as another vector of the same Gram."""
    rng = np.random.default_rng(6)
    beacon, rows, weights = rng.bytes(32), rows_of("dense", rng), [1 / M] * M
    claim = claim_of(rows, beacon)
    result = combine_weighted(rows, np.array(weights))
    false = (-2 * result).astype(np.float32)
    assert refuted(claim, weights, false, "int8", beacon) is not None
    row = quantise_row(false)
    target = np.ldexp(sketch_row(row.values, beacon, 0, K).astype(float), row.exponent)
    others = sum(
        w * np.ldexp(s.astype(float), e)
        for w, s, e in zip(weights[1:], claim.sketches[1:], claim.exponents[1:], strict=True)
    )
    fitted = np.rint(np.ldexp((target - others) / weights[0], -claim.exponents[0]))
    sketches = claim.sketches.copy()
    sketches[0] = fitted.astype(np.int64)
    covered = replace(claim, sketches=sketches)
    assert refuted(covered, weights, false, "int8", beacon) is None
    assert gram_mismatch([covered]) is not None
