"""A contributor's moving average: the sum that defines it, and quieter than its updates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.exchange.momentum import Momentum, advance


@given(st.integers(0, 1 << 32), st.integers(1, 30), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_it_is_the_weighted_mean_of_all_updates(seed: int, n: int, beta: float) -> None:
    updates = np.random.default_rng(seed).normal(size=(n, 7)).astype(np.float32)
    momentum = Momentum.zero(7)
    for update in updates:
        momentum = advance(momentum, update, beta)
    weights = beta ** np.arange(n - 1, -1, -1.0)
    expected = (weights[:, None] * updates.astype(np.float64)).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(momentum.update, expected, rtol=1e-4, atol=1e-5)


def test_the_first_update_passes_and_what_was_before_stays() -> None:
    before, update = Momentum.zero(3), np.array([1.0, -2.0, 3.0], np.float32)
    after = advance(before, update, 0.9)
    np.testing.assert_allclose(after.update, update, rtol=1e-6)
    assert not before.average.any()
    assert before.weight == 1


@pytest.mark.parametrize(("beta", "most"), [(0.9, 0.08), (0.99, 0.02)])
def test_noise_falls_as_theory_says(beta: float, most: float) -> None:
    """Of independent updates the average keeps (1 - beta) / (1 + beta) of the variance."""
    draws = np.random.default_rng(1)
    momentum = Momentum.zero(2000)
    for _ in range(600):
        momentum = advance(momentum, draws.normal(size=2000).astype(np.float32), beta)
    kept = float(momentum.update.var())
    assert (1 - beta) / (1 + beta) * 0.7 < kept < most
