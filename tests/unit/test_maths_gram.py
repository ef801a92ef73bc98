"""The Gram matrix: exact in integers, close to the true one, and hard to lie about."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.exchange.gram import (
    CHUNK,
    EXPONENT_MAX,
    EXPONENT_MIN,
    PART,
    QUANTISED_MAX,
    IntegerRow,
    assemble_gram,
    gram_fault,
    gram_of,
    integer_gram,
    quantise_row,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=20))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_row_is_rounded_to_half_a_step(values: list[float]) -> None:
    x = np.array(values, np.float32)
    row = quantise_row(x)
    assert EXPONENT_MIN <= row.exponent <= EXPONENT_MAX
    top = int(np.abs(row.values.astype(np.int64)).max())
    assert top == 0 or QUANTISED_MAX // 2 <= top <= QUANTISED_MAX
    step = Fraction(2) ** row.exponent
    for value, q in zip(x.tolist(), row.values.tolist(), strict=True):
        assert abs(Fraction(value) - q * step) <= step / 2
    assert row.sq_norm == sum(q * q for q in row.values.tolist())


def test_a_zero_row_has_exponent_zero() -> None:
    row = quantise_row(np.zeros(10, np.float32))
    assert (row.exponent, row.sq_norm, row.values.tolist()) == (0, 0, [0] * 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        quantise_row(np.array([1, bad], np.float32))


@pytest.mark.parametrize("d", [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_the_integer_gram_is_exact(d: int) -> None:
    rng = np.random.default_rng(d)
    values = rng.integers(-QUANTISED_MAX, QUANTISED_MAX + 1, (5, d)).astype(np.int16)
    values[0] = QUANTISED_MAX
    values[1] = -QUANTISED_MAX
    rows = [IntegerRow(v, 0) for v in values]
    wide = values.astype(np.int64)
    gram = integer_gram(rows)
    assert gram.dtype == np.int64
    assert np.array_equal(gram, wide @ wide.T)
    assert gram_fault(gram, [row.sq_norm for row in rows]) is None


def test_rows_of_different_lengths_are_refused() -> None:
    rows = [IntegerRow(np.zeros(k, np.int16), 0) for k in (3, 4)]
    with pytest.raises(ValueError, match="one length"):
        integer_gram(rows)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 7), (9, PART - 1), (9, PART + 4097), (33, 9000)])
def test_the_gram_of_whole_vectors_is_that_of_their_parts(n: int, d: int) -> None:
    rng = np.random.default_rng(d)
    x = (rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-44, 37, (n, 1))).astype(np.float32)
    x[n // 2] = 0
    parts = []
    for start in range(0, d, PART):
        rows = [quantise_row(row[start : start + PART]) for row in x]
        parts.append((integer_gram(rows), [row.exponent for row in rows]))
    assert gram_of(list(x)).tobytes() == assemble_gram(parts).tobytes()


def test_whole_vectors_must_be_finite_and_of_one_length() -> None:
    one = np.ones(5, np.float32)
    for bad in ([], [one, one[:4]], [one, one * np.float32(np.nan)], [one * np.float32(np.inf)]):
        with pytest.raises(ValueError, match=r"one length|not finite"):
            gram_of(bad)


def test_the_assembled_gram_is_that_of_the_whole_updates() -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((6, 9000)) * 10.0 ** np.arange(-8, 4, 2)[:, None]).astype(np.float32)
    parts = []
    for cut in (slice(0, 1000), slice(1000, 5000), slice(5000, 9000)):
        rows = [quantise_row(np.ascontiguousarray(row[cut])) for row in x]
        parts.append((integer_gram(rows), [row.exponent for row in rows]))
    gram = assemble_gram(parts)
    exact = x.astype(np.float64) @ x.astype(np.float64).T
    norms = np.sqrt(exact.diagonal())
    # A Gaussian coordinate is off by about 1e-4 standard deviations; over D coordinates errors
    # add up as 1e-4 * sqrt(2 D), that is 1.5e-6 of the norms. Seven of those are allowed.
    assert (np.abs(gram - exact) <= 1e-5 * np.outer(norms, norms)).all()
    assert np.array_equal(gram, assemble_gram(parts[::-1]))


@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.integers(EXPONENT_MIN, EXPONENT_MAX)),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_assembly_rounds_the_exact_sum_once(cells: list[tuple[int, int]]) -> None:
    parts = [(np.array([[value]], np.int64), [e]) for value, e in cells]
    exact = sum((Fraction(value) * Fraction(2) ** (2 * e) for value, e in cells), Fraction(0))
    assert assemble_gram(parts)[0, 0] == float(exact)


@pytest.mark.parametrize("e", [EXPONENT_MIN - 1, EXPONENT_MAX + 1, 10**9])
def test_an_exponent_out_of_range_is_refused_before_it_costs_memory(e: int) -> None:
    with pytest.raises(Malformed):
        assemble_gram([(np.ones((1, 1), np.int64), [e])])


def test_a_part_of_another_size_is_refused() -> None:
    with pytest.raises(Malformed):
        assemble_gram([(np.ones((2, 2), np.int64), [0, 0]), (np.ones((1, 1), np.int64), [0])])


def test_a_lie_about_a_gram_element_is_named() -> None:
    rows = [quantise_row(np.arange(k, k + 50, dtype=np.float32)) for k in (1, 2, 3)]
    norms = [row.sq_norm for row in rows]
    honest = integer_gram(rows)
    for i, j, value, text in (
        (1, 1, 5, "squared norm 1"),
        (2, 0, 5, "not symmetric"),
    ):
        lie = honest.copy()
        lie[i, j] = value
        assert text in (gram_fault(lie, norms) or "")
    lie = honest.copy()
    lie[0, 1] = lie[1, 0] = math.isqrt(norms[0] * norms[1]) + 1
    assert "product of its norms" in (gram_fault(lie, norms) or "")
    assert "shape" in (gram_fault(honest[:2], norms) or "")
