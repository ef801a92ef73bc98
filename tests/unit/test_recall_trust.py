"""Honest authors keep their trust, liars lose it, and accidents ruin nobody."""

import numpy as np
import pytest

from workloads.recall.trust import Trust

NEAR = np.ones(3, np.float32)


def score(lie, *, steps=400, noise=10.0, seed=1):
    """Trust in an honest author and in one whose estimates are ``lie(return, rng)``."""
    rng, trust = np.random.default_rng(seed), Trust()
    trust.grow(3)
    for _ in range(steps):
        expected = rng.uniform(0, 40)
        got = expected + rng.normal(0, noise)
        own, other = expected + rng.normal(0, noise, 2)
        estimates = np.array([own, other, lie(expected, rng)], np.float32)
        trust.observe(estimates, NEAR, got)
    return trust.scores()


@pytest.mark.parametrize(
    "lie",
    [
        lambda expected, rng: expected * 10 + 100,
        lambda expected, rng: 1e6,
        lambda expected, rng: rng.normal(0, 500),
        lambda expected, rng: -expected * 10 - 100,
    ],
)
def test_a_liar_fades_to_nothing_and_the_honest_stay(lie):
    own, honest, liar = score(lie)
    assert own == 1
    assert honest > 0.9
    assert liar == 0


def test_another_policys_values_are_no_lies():
    assert score(lambda expected, rng: expected * 1.5)[2] > 0.7


def test_the_unknown_are_half_believed_and_oneself_wholly():
    trust = Trust()
    trust.grow(3)
    trust.grow(2)
    assert trust.scores().tolist() == [1, 0.5, 0.5]


def test_one_accident_does_not_ruin_an_author():
    trust = Trust()
    trust.grow(2)
    for step in range(300):
        wild = 1e9 if step == 299 else 10.0
        trust.observe(np.array([10, wild], np.float32), NEAR[:2], 10.0)
    assert trust.scores()[1] > 0.9


def test_far_entries_are_not_held_against_their_author():
    trust = Trust()
    trust.grow(2)
    for _ in range(100):
        trust.observe(np.array([1, 1e6], np.float32), np.array([1, 9], np.float32), 1.0)
    assert trust.scores()[1] == 0.5
    assert trust.counts.tolist() == [0, 0]


def test_scores_are_kept():
    trust, again = Trust(), Trust()
    trust.grow(3)
    trust.observe(np.array([1, 2, 30], np.float32), NEAR, 4.0)
    again.load(trust.dump())
    assert np.array_equal(again.scores(), trust.scores())
