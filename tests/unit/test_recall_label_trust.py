"""One of four authors poisons a long-tailed memory: the vote holds, and trust tells."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.recall.label_trust import expected_false, judge
from workloads.recall.vectors import OWN, VectorMemory
from workloads.recall.vote import VoteRules, select, vote

CLASSES, DIMENSIONS, SEEDS = 8, 32, 2
COUNTS = np.round(480 * (6 / 480) ** (np.arange(CLASSES) / (CLASSES - 1))).astype(int)  # 480 .. 6
FEW = CLASSES - 3
"""The last three classes have 21, 11 and 6 examples over all authors."""
RULES = VoteRules()
PLAIN = VoteRules(share=1.0, rule="mean")


def other(labels, rng):
    return (labels + 1 + rng.integers(0, CLASSES - 1, len(labels))) % CLASSES


def beside(keys, times, rng):
    """Copies that differ a little."""
    return np.repeat(keys, times, axis=0) + rng.normal(0, 0.02, (times * len(keys), DIMENSIONS))


def poison(attack, keys, labels, at, rng):
    """What the fourth author shares; ``at`` says whose the honest entries are."""
    own, told = keys[at == 3], labels[at == 3]
    theirs, truth = keys[at != 3], labels[at != 3]
    if attack == "mislabel":
        return own, other(told, rng)
    if attack == "flood":
        many = own[rng.integers(0, len(own), 2000)] + rng.normal(0, 1, (2000, DIMENSIONS))
        return np.concatenate([own, many]), np.append(told, np.zeros(2000, int))
    if attack == "beside few":
        theirs, truth = theirs[truth >= FEW], truth[truth >= FEW]
    false = np.repeat(other(truth, rng), 3)
    return np.concatenate([own, beside(theirs, 3, rng)]), np.append(told, false)


@cache
def run(attack, robust=True):
    """Accuracy in points over all and over few-shot classes, and trust, means over the seeds."""
    results = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        centres = rng.normal(0, 1, (CLASSES, DIMENSIONS))
        labels = rng.permutation(np.repeat(np.arange(CLASSES), COUNTS))
        tests = np.repeat(np.arange(CLASSES), 60)
        keys, queries = (
            centres[which] + rng.normal(0, 1.4, (len(which), DIMENSIONS))
            for which in (labels, tests)
        )
        at = np.arange(len(labels)) % 4
        memory = VectorMemory(DIMENSIONS)
        for number, name in enumerate((OWN, "a", "b")):
            memory.add(name, keys[at == number], labels[at == number])
        if attack == "none":
            memory.add("c", keys[at == 3], labels[at == 3])
        elif attack != "left":
            memory.add("c", *poison(attack, keys, labels, at, rng))
        rules = RULES if robust else PLAIN
        found = judge(memory, CLASSES, rules.beta, np.random.default_rng(seed))
        trust = found.by_class if robust else np.ones_like(found.by_class)
        used = select(memory.search_authors(queries, rules.k), trust, rules)
        right = vote(used, trust, rules).argmax(axis=1) == tests
        trusts = np.pad(found.authors, (0, 4 - len(found.authors)))
        results.append([100 * right.mean(), 100 * right[tests >= FEW].mean(), *trusts])
    return np.mean(results, axis=0)


@pytest.mark.parametrize("attack", ["mislabel", "flood", "beside"])
def test_a_poisoner_costs_no_more_than_its_absence_and_is_not_believed(attack):
    clean, poisoned = run("left"), run(attack)
    assert poisoned[0] >= clean[0] - 1
    assert poisoned[1] >= clean[1] - 1
    assert poisoned[5] < 0.1
    assert (poisoned[2:5] > 0.9).all()


@pytest.mark.parametrize("attack", ["mislabel", "flood", "beside"])
def test_the_plain_vote_would_have_been_turned(attack):
    assert run(attack, robust=False)[0] < run("left", robust=False)[0] - 4


def test_lies_beside_few_shot_keys_alone_are_seen():
    clean, poisoned = run("left"), run("beside few")
    assert poisoned[0] >= clean[0] - 1
    assert poisoned[1] >= clean[1] - 3
    assert poisoned[5] < 0.5
    assert run("beside few", robust=False)[1] < clean[1] - 20


def test_without_liars_robustness_costs_nothing_and_all_are_believed():
    robust, plain = run("none"), run("none", robust=False)
    assert robust[0] >= plain[0] - 0.5
    assert robust[1] >= plain[1] - 0.5
    assert (robust[2:] > 0.95).all()


def test_authors_of_disjoint_classes_believe_one_another():
    rng = np.random.default_rng(5)
    centres = rng.normal(0, 1, (CLASSES, DIMENSIONS))
    memory = VectorMemory(DIMENSIONS)
    for number, name in enumerate((OWN, "a", "b", "c")):
        labels = np.repeat([number, number + 4], 40)
        keys = centres[labels] + rng.normal(0, 1.4, (80, DIMENSIONS))
        memory.add(name, keys, labels)
    assert (judge(memory, CLASSES, RULES.beta, rng).authors > 0.95).all()


def unequal(seed, shift):
    """Trust where classes 0 and 1 are alike, and each author has much of one of them only.

    Author c calls its entries of class 2 ``2 + shift``.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (4, DIMENSIONS))
    centres[1] = centres[0] + rng.normal(0, 0.4, DIMENSIONS)
    memory = VectorMemory(DIMENSIONS)
    held = {OWN: (2, 60, 40, 40), "a": (200, 4, 30, 0), "b": (0, 80, 0, 50), "c": (300, 0, 60, 60)}
    for name, counts in held.items():
        labels = np.repeat(np.arange(4), counts)
        keys = centres[labels] + rng.normal(0, 1, (len(labels), DIMENSIONS))
        memory.add(name, keys, labels + shift * ((name == "c") & (labels == 2)))
    return judge(memory, 4, RULES.beta, rng)


def test_who_has_much_of_a_class_that_others_hardly_have_is_believed():
    assert np.mean([unequal(seed, 0).authors for seed in range(5)], axis=0).min() > 0.75


def test_who_calls_one_class_by_the_name_of_another_is_not_believed_there():
    for seed in range(5):
        found = unequal(seed, 1)
        assert found.by_class[3, 2] < 0.1
        assert found.authors[:3].min() > 0.85


@given(seed=st.integers(0, 2**32 - 1), ratio=st.floats(0, 8))
def test_a_class_of_which_it_has_more_excuses_an_author_more(seed, ratio):
    rng = np.random.default_rng(seed)
    near, labels = rng.integers(-1, 3, (12, 5)).astype(np.int32), rng.integers(0, 3, 12)
    held = np.ones((2, 3))
    held[1, 1] = ratio
    expected = expected_false(near, labels, held, 0)
    assert ((expected >= 0) & (expected <= 1)).all()
    direction = np.sign(ratio - 1) * np.array([1, -1, 1])
    assert (direction * (expected[1] - expected[0]) >= -1e-12).all()


def test_a_liar_cannot_take_trust_from_an_honest_author():
    rng = np.random.default_rng(6)
    centres = rng.normal(0, 1, (CLASSES, DIMENSIONS))
    memory = VectorMemory(DIMENSIONS)
    shares = {}
    for name in (OWN, "a", "b"):
        labels = np.repeat(np.arange(CLASSES), 20)
        shares[name] = centres[labels] + rng.normal(0, 1.4, (160, DIMENSIONS))
        memory.add(name, shares[name], labels)
    memory.add("liar", beside(shares["a"], 1, rng), other(labels, rng))
    found = judge(memory, CLASSES, RULES.beta, rng)
    assert (found.authors[:3] > 0.95).all()
    assert found.authors[3] < 0.1


def test_nothing_known_is_no_blame():
    memory = VectorMemory(2)
    memory.add("a", np.eye(2), [0, 1])
    found = judge(memory, 2, 10, np.random.default_rng(0))
    assert found.authors.tolist() == [1, 1]
    assert found.excess.tolist() == [[0, 0], [0, 0]]
