"""The robust estimate: equal to the plain one for one author, and hard to move for a liar."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workloads.recall.retrieval import combine, estimate, select

RULES = {"k": 8, "share": 0.5, "rule": "trimmed", "trim": 0.25}


KERNELS = {
    "exponential": lambda d, least: math.exp(-d / least),
    "inverse": lambda d, least: least / d,
    "uniform": lambda d, least: 1.0,
}


def plain_knn(squares, values, k, kernel="exponential"):
    """docs/workloads.md, "Value", entry by entry."""
    found = [(math.sqrt(s) + 0.01, v) for s, v in zip(squares, values, strict=True) if s < math.inf]
    found = found[:k]
    if not found:
        return math.nan
    weights = [KERNELS[kernel](d, found[0][0]) for d, _ in found]
    return sum(w * v for w, (_, v) in zip(weights, found, strict=True)) / sum(weights)


def neighbours(rng, groups=3, nodes=8, missing=2):
    squares = np.sort(rng.uniform(0, 1e4, (groups, nodes)).astype(np.float32), axis=1)
    for group in range(groups):
        squares[group, nodes - int(rng.integers(missing + 1)) :] = np.inf
    return squares


@given(st.integers(0, 1 << 32), st.integers(1, 8), st.sampled_from(sorted(KERNELS)))
@settings(max_examples=60, deadline=None)
def test_one_author_gives_the_plain_weighted_mean(seed, k, kernel):
    rng = np.random.default_rng(seed)
    squares, values = neighbours(rng, missing=8), rng.normal(0, 50, (1, 3, 8)).astype(np.float32)
    rules = {**RULES, "k": k, "kernel": kernel}
    got = estimate(squares, values, np.ones(1, np.float32), **rules)
    for group in range(3):
        want = plain_knn(squares[group], values[0, group], k, kernel)
        np.testing.assert_allclose(got.value[group], want, rtol=1e-4, atol=1e-4)


@given(st.integers(0, 1 << 32), st.sampled_from(sorted(KERNELS)))
@example(86818, "exponential")
@settings(max_examples=40, deadline=None)
def test_an_absent_second_author_changes_nothing(seed, kernel):
    rng = np.random.default_rng(seed)
    squares, values = neighbours(rng), rng.normal(0, 50, (1, 3, 8)).astype(np.float32)
    both = np.concatenate([values, np.full_like(values, np.nan)])
    rules = {**RULES, "kernel": kernel}
    alone = estimate(squares, values, np.ones(1, np.float32), **rules)
    beside = estimate(squares, both, np.array([1, 0.5], np.float32), **rules)
    np.testing.assert_allclose(beside.value, alone.value, rtol=1e-4)
    np.testing.assert_allclose(beside.distance, alone.distance, rtol=1e-4)
    np.testing.assert_allclose(beside.nearest[0], alone.nearest[0])


@given(st.integers(0, 1 << 32), st.integers(1, 12), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
@settings(max_examples=80, deadline=None)
def test_selection_is_that_of_a_walk_from_near_to_far(seed, k, share):
    rng = np.random.default_rng(seed)
    held = rng.random((4, 3, 10)) < 0.6
    want = np.zeros_like(held)
    for group in range(3):
        used = [0] * 4
        for node in range(10):
            for author in range(4):
                quota = k if author == 0 else max(1, int(share * k))
                if held[author, group, node] and used[author] < quota and sum(used) < k:
                    want[author, group, node] = True
                    used[author] += 1
    assert np.array_equal(select(held, k, share), want)


def test_no_foreign_author_supplies_more_than_its_share():
    held = np.ones((3, 1, 32), bool)
    held[0, :, :20] = held[1, :, :20] = False  # author 2 floods what is near
    used = select(held, 8, 0.25).sum(axis=(1, 2))
    assert used.tolist() == [3, 2, 2] or used[2] == 2


@given(st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_trimmed_mean_is_that_of_many_equal_grains(seed):
    rng = np.random.default_rng(seed)
    grains = rng.integers(1, 6, 5)
    estimates = rng.normal(0, 10, 5)
    spread = np.sort(np.repeat(estimates, grains * 4))
    cut = len(spread) // 4
    want = spread[cut : len(spread) - cut].mean()
    got = combine(
        estimates[:, None].astype(np.float32), grains[:, None].astype(np.float32), "trimmed", 0.25
    )
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", ["trimmed", "median"])
@given(st.integers(0, 1 << 32), st.floats(-1e6, 1e6))
@settings(max_examples=40, deadline=None)
def test_a_liar_of_less_mass_than_the_trim_stays_within_the_honest(rule, seed, lie):
    rng = np.random.default_rng(seed)
    estimates = rng.normal(0, 10, (4, 2)).astype(np.float32)
    honest = estimates[:3].copy()
    estimates[3] = lie
    got = combine(estimates, np.ones((4, 2), np.float32), rule, 0.25)
    slack = 1e-3 + abs(lie) * 1e-6
    assert (got >= honest.min(axis=0) - slack).all()
    assert (got <= honest.max(axis=0) + slack).all()


def test_median_is_the_middle_estimate():
    estimates = np.array([[1.0], [100.0], [2.0]], np.float32)
    assert combine(estimates, np.ones((3, 1), np.float32), "median", 0)[0] == pytest.approx(2)


def test_nobody_knows_gives_nan():
    values = np.full((2, 2, 4), np.nan, np.float32)
    squares = np.full((2, 4), np.inf, np.float32)
    got = estimate(squares, values, np.ones(2, np.float32), **RULES)
    assert np.isnan(got.value).all()
    assert np.isinf(got.distance).all()


def test_an_author_without_trust_is_not_heard_but_still_compared():
    squares = np.array([[1.0, 4.0, 9.0]], np.float32)
    values = np.array([[[np.nan, 5, 5]], [[900, 900, 900]]], np.float32)
    got = estimate(squares, values, np.array([1, 0], np.float32), **RULES)
    assert got.value[0] == pytest.approx(5)
    assert got.by_author[1, 0] == pytest.approx(900)
    assert got.nearest[1, 0] == pytest.approx(1.01)
