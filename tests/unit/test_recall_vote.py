"""The vote of labelled neighbours: the plain one for one author, and hard to turn for a liar."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.api import WorkloadError
from workloads.recall import retrieval
from workloads.recall.neighbours import ROW_BITS, Neighbours
from workloads.recall.vote import VoteRules, author_shares, select, trust_here, vote

CLASSES = 4


def lists(rng, authors=3, queries=5, each=12, missing=4):
    """Sorted neighbours by author, with distinct similarities and some missing. Shape [s, q, n]."""
    shape = (authors, queries, each)
    similarity = rng.permutation(np.linspace(-1, 1, authors * queries * each)).reshape(shape)
    similarity = -np.sort(-similarity.astype(np.float32), axis=2)
    ids = (np.arange(authors)[:, None, None] << ROW_BITS) + np.broadcast_to(np.arange(each), shape)
    labels = rng.integers(0, CLASSES, shape).astype(np.int32)
    cut = rng.integers(each - missing, each + 1, (authors, queries, 1))
    return Neighbours(ids, similarity, labels).without(np.arange(each) >= cut)


def everybody(authors):
    return np.ones((authors, CLASSES), np.float32)


def plain_vote(labels, similarity, beta):
    """Entry by entry."""
    scores = [0.0] * CLASSES
    for label, cosine in zip(labels, similarity, strict=True):
        if label >= 0:
            scores[label] += math.exp(beta * cosine)
    return np.array(scores) / (sum(scores) or 1)


@given(st.integers(0, 1 << 32), st.integers(1, 12), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
@settings(max_examples=30, deadline=None)
def test_selection_is_that_of_a_walk_from_near_to_far(seed, k, share):
    near = lists(np.random.default_rng(seed))
    got = select(near, everybody(3), VoteRules(k=k, share=share))
    for query in range(5):
        walk = sorted(
            (-near.similarity[a, query, n], near.ids[a, query, n], a)
            for a in range(3)
            for n in range(12)
            if near.ids[a, query, n] >= 0
        )
        used, want = [0] * 3, []
        for _, id_, author in walk:
            quota = k if author == 0 else max(1, int(share * k))
            if used[author] < quota and len(want) < k:
                used[author] += 1
                want.append(int(id_))
        assert got.ids[query].tolist() == want + [-1] * (k - len(want))


@given(st.integers(0, 1 << 32), st.integers(1, 8), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=30, deadline=None)
def test_selection_is_the_one_of_remembered_numbers(seed, k, share):
    near = lists(np.random.default_rng(seed), missing=0)
    got = select(near, everybody(3), VoteRules(k=k, share=share))
    for query in range(5):
        order = np.argsort(-near.similarity[:, query].ravel())
        held = np.zeros((3, 1, 36), bool)
        held[order // 12, 0, np.arange(36)] = True
        used = retrieval.select(held, k, share).any(axis=(0, 1))
        want = near.ids[:, query].ravel()[order][used]
        assert got.ids[query][: len(want)].tolist() == want.tolist()


@given(st.integers(0, 1 << 32), st.floats(0, 40), st.sampled_from(["mean", "trimmed", "median"]))
@settings(max_examples=40, deadline=None)
def test_one_author_gives_the_plain_vote(seed, beta, rule):
    near = lists(np.random.default_rng(seed), authors=1, missing=12)
    rules = VoteRules(k=8, beta=beta, rule=rule)
    used = select(near, everybody(1), rules)
    got = vote(used, everybody(1), rules)
    for query in range(5):
        want = plain_vote(used.labels[query], used.similarity[query], beta)
        np.testing.assert_allclose(got[query], want, atol=1e-4)


@given(st.integers(0, 1 << 32), st.floats(0, 40))
@settings(max_examples=40, deadline=None)
def test_the_mean_of_all_authors_is_the_plain_vote_over_all_entries(seed, beta):
    near = lists(np.random.default_rng(seed))
    rules = VoteRules(k=10, share=1.0, beta=beta, rule="mean")
    used = select(near, everybody(3), rules)
    got = vote(used, everybody(3), rules)
    for query in range(5):
        want = plain_vote(used.labels[query], used.similarity[query], beta)
        np.testing.assert_allclose(got[query], want, atol=1e-4)


@pytest.mark.parametrize("rule", ["trimmed", "median"])
@given(st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_a_liar_among_four_that_is_no_nearer_does_not_turn_the_others(rule, seed):
    rng = np.random.default_rng(seed)
    similarity = np.full((4, 3, 4), 0.9, np.float32)
    ids = (np.arange(4)[:, None, None] << ROW_BITS) + np.broadcast_to(np.arange(4), (4, 3, 4))
    truth = rng.integers(0, CLASSES, 3)
    labels = np.broadcast_to(truth[None, :, None], (4, 3, 4)).astype(np.int32).copy()
    labels[3] = rng.integers(0, CLASSES, (3, 4))
    rules = VoteRules(k=16, share=0.25, rule=rule, trim=0.25)
    used = select(Neighbours(ids, similarity, labels), everybody(4), rules)
    np.testing.assert_allclose(vote(used, everybody(4), rules)[np.arange(3), truth], 1, atol=1e-5)


def test_who_is_not_trusted_is_neither_used_nor_heard():
    near = lists(np.random.default_rng(1))
    trust = everybody(3)
    trust[2] = 0
    rules = VoteRules(k=10)
    used = select(near, trust, rules)
    assert not (used.authors == 2).any()
    two = Neighbours(near.ids[:2], near.similarity[:2], near.labels[:2])
    alone = vote(select(two, everybody(2), rules), everybody(2), rules)
    np.testing.assert_allclose(vote(used, trust, rules), alone, atol=1e-6)


def test_trust_follows_the_class_that_the_others_see():
    shares = np.zeros((3, 2, 2), np.float32)
    shares[:2, 0, 0] = shares[:2, 1, 1] = 1  # two authors say class 0, then class 1
    shares[2, :, 0] = 1  # the third always says class 0
    trust = np.ones((3, 2), np.float32)
    trust[2, 1] = 0
    here = trust_here(shares, np.ones((3, 2), np.float32), trust)
    np.testing.assert_allclose(here[2], [1, 0])
    np.testing.assert_allclose(here[:2], 1)


def test_nobody_near_gives_no_score_and_foreign_labels_weigh_nothing():
    nobody = np.full((2, 1, 3), -1)
    near = Neighbours(nobody, np.full((2, 1, 3), -np.inf, np.float32), nobody.astype(np.int32))
    rules = VoteRules(k=3)
    used = select(near, everybody(2), rules)
    assert vote(used, everybody(2), rules).tolist() == [[0] * CLASSES]
    far = Neighbours(
        np.array([[0, 1]]), np.array([[0.9, 0.8]], np.float32), np.array([[99, 2]], np.int32)
    )
    shares, mass = author_shares(far, 1, CLASSES, 10)
    assert shares[0, 0].tolist() == [0, 0, 1, 0]
    assert mass[0, 0] == 1


@pytest.mark.parametrize("wrong", [{"k": 0}, {"share": 0}, {"beta": math.nan}, {"trim": 0.5}])
def test_rules_out_of_range_are_refused(wrong):
    with pytest.raises(WorkloadError, match="share in"):
        VoteRules(**wrong)
