"""The eigen-solver beside LAPACK's, and the searches that stand on it and on pairs."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.exchange.rules import diameter, spectral
from node.exchange.rules.eigen import top_eigenvalues, top_pair
from node.exchange.rules.space import sq_distances

Floats = npt.NDArray[np.float64]


def drawn(n: int, seed: int) -> Floats:
    """A positive semi-definite or indefinite matrix, of any rank and of rows of any size."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, int(rng.integers(1, 2 * n + 1)))) * 10.0 ** rng.uniform(
        -4, 4, (n, 1)
    )
    a = x @ x.T - (seed % 2) * np.diag(rng.uniform(0, 1, n))
    return (a + a.T) / 2


@given(st.integers(1, 24), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_top_pair_is_lapacks(n: int, seed: int) -> None:
    a = drawn(n, seed)
    values = np.linalg.eigvalsh(a)
    size = np.abs(values).max()
    value, vector = top_pair(a)
    assert abs(value - values[-1]) <= 1e-13 * size
    assert np.linalg.norm(a @ vector - value * vector) <= 1e-12 * size
    assert abs(np.linalg.norm(vector) - 1) <= 1e-12


def test_many_matrices_at_once_give_the_bits_of_each_alone() -> None:
    batch = np.array([drawn(13, seed) for seed in range(7)])
    alone = [top_eigenvalues(a[None])[0] for a in batch]
    assert top_eigenvalues(batch).tolist() == alone
    assert np.allclose(alone, [np.linalg.eigvalsh(a)[-1] for a in batch], rtol=1e-12)


@given(st.integers(1, 24), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_one_matrix_alone_has_the_bits_of_the_batch(n: int, seed: int) -> None:
    a = drawn(n, seed)
    for each in (a, np.round(a), np.diag(np.round(a.diagonal()))):
        assert top_pair(each)[0] == top_eigenvalues(each[None])[0]


def test_matrices_of_64_rows_and_of_equal_eigenvalues() -> None:
    for a in (drawn(64, 1), np.eye(64), np.zeros((64, 64)), np.ones((64, 64)), -np.eye(3)):
        value, vector = top_pair(a)
        size = max(1.0, float(np.abs(a).max()))
        assert np.linalg.norm(a @ vector - value * vector) <= 1e-11 * size
        assert abs(value - np.linalg.eigvalsh(a)[-1]) <= 1e-12 * size * len(a)


def test_elements_of_any_size_do_not_overflow() -> None:
    for scale in (2.0**-1000, 2.0**900):
        value, vector = top_pair(np.array([[2.0, 1.0], [1.0, 2.0]]) * scale)
        assert value == pytest.approx(3 * scale, rel=1e-14)
        assert np.allclose(vector, np.sqrt(0.5))


@given(st.integers(1, 9), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_least_diameter_is_that_of_all_subsets(m: int, f: int, seed: int) -> None:
    f = min(f, (m - 1) // 2)
    x = np.random.default_rng(seed).integers(0, 4, (m, 2)).astype(np.float64)  # many ties
    sq = sq_distances(x @ x.T)
    # The first of the least ones, in index order.
    wanted = min(itertools.combinations(range(m), m - f), key=lambda s: sq[np.ix_(s, s)].max())
    assert np.flatnonzero(diameter.mda(x @ x.T, f)).tolist() == list(wanted)


def test_a_search_that_is_too_long_ends_with_rows_around_the_centre(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(0).standard_normal((40, 100))
    exact = diameter.mda(x @ x.T, 13)
    monkeypatch.setattr(diameter, "STEPS_MAX", 20)
    near = diameter.mda(x @ x.T, 13)
    sq = sq_distances(x @ x.T)

    def widest(weights: Floats) -> float:
        chosen = np.flatnonzero(weights)
        return float(sq[np.ix_(chosen, chosen)].max())

    assert widest(exact) <= widest(near) <= 4 * widest(exact)
    assert (near > 0).sum() == 27


def test_64_rows_with_21_liars_stay_within_the_steps() -> None:
    rng = np.random.default_rng(3)
    for d in (1, 2, 3, 1000):  # few dimensions make many ties and long searches
        x = rng.standard_normal((64, d))
        steps = [diameter.STEPS_MAX]
        chosen = diameter._least_diameter(sq_distances(x @ x.T), 64, 21, steps)
        assert len(chosen) == 43
        assert steps[0] > diameter.STEPS_MAX // 2


def test_smea_of_too_many_subsets_is_caf() -> None:
    x = np.random.default_rng(1).standard_normal((30, 50))
    gram = x @ x.T
    assert np.array_equal(spectral.smea(gram, 9), spectral.caf(gram, 9))
    assert not np.array_equal(spectral.smea(gram[:10, :10], 2), spectral.caf(gram[:10, :10], 2))


def test_a_row_far_away_leaves_caf_at_once_and_for_good() -> None:
    # Where tau_max is taken over all rows, one such row makes the loop hardly end.
    x = np.random.default_rng(2).standard_normal((16, 300))
    x[0] *= 1e12
    x[1] = x[0] * -3
    weights = spectral.caf(x @ x.T, 3)
    assert weights[:2].tolist() == [0.0, 0.0]
    assert (weights[2:] > 0.02).all()
