"""A memory in pieces answers as the whole one, whatever f holders of f + 1 say."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.recall.neighbours import ROW_BITS
from workloads.recall.sharding import Answer, BatchRef, holders, kept, merge_answers, to_ask
from workloads.recall.vectors import VectorMemory

pytest.importorskip("faiss", reason="the extra that brings faiss is not installed")
DIMENSIONS, AUTHORS, K, OWN = 8, 3, 4, "peer 0"
PEERS = [f"peer {n}" for n in range(7)]


def root(*words):
    return hashlib.blake2b(repr(words).encode()).digest()


class World:
    """A whole memory in signed batches, and what honest and lying holders say about it."""

    def __init__(self, seed, copies):
        self.rng = rng = np.random.default_rng(seed)
        self.whole = VectorMemory(DIMENSIONS)
        self.batches = []
        for author in range(1, AUTHORS + 1):
            first = 0
            for number, size in enumerate(rng.integers(1, 9, 5).tolist()):
                keys = rng.normal(0, 1, (size, DIMENSIONS)).astype(np.float32)
                self.whole.add(f"author {author}", keys, rng.integers(0, 5, size))
                self.batches.append(BatchRef(author, first, size, root(seed, author, number)))
                first += size
        queries = rng.normal(0, 1, (6, DIMENSIONS)).astype(np.float32)
        self.queries = queries / np.sqrt((queries**2).sum(axis=1, keepdims=True))
        self.asked = to_ask(self.batches, PEERS, copies, OWN)
        self.asked[OWN] = kept(self.batches, PEERS, copies, OWN)

    def honest(self, who):
        """By comparing every entry that the holder keeps."""
        near = self.whole.search_authors(self.queries, 200)
        here = np.zeros(near.ids.shape, bool)
        for batch in self.asked[who]:
            start = (batch.author << ROW_BITS) + batch.first
            here |= (near.ids >= start) & (near.ids < start + batch.size)
        each = [near.without(~here | (near.authors != a)) for a in range(AUTHORS + 1)]
        lists = [self._nearest(found, a) for a, found in enumerate(each)]
        roots = frozenset(batch.root for batch in self.asked[who])
        return Answer(
            roots,
            np.concatenate([ids for ids, _ in lists], axis=1),
            np.concatenate([similarity for _, similarity in lists], axis=1),
        )

    @staticmethod
    def _nearest(found, author):
        best = found.nearest(K)
        return best.ids[author], best.similarity[author]

    def lie(self, who, how):
        true = self.honest(who)
        ids, similarity = true.ids.copy(), true.similarity.copy()
        if how == "hides all":
            ids[:] = -1
        elif how == "hides the nearest":
            ids[np.arange(len(ids)), similarity.argmax(axis=1)] = -1
        elif how == "invents":
            ids[:, :2] = (1 << ROW_BITS) + self.rng.integers(1000, 1 << 39, (len(ids), 2))
            similarity[:, :2] = 1
        elif how == "another author's":
            ids[:, 0] = (1 << 62) + 1
        elif how == "exaggerates":
            similarity = np.where(ids >= 0, np.float32(1), similarity)
        elif how == "nan":
            similarity = np.full_like(similarity, np.nan)
        elif how == "shape":
            ids = ids[:, :-1]
        elif how == "too many":
            ids, similarity = np.tile(ids, 50), np.tile(similarity, 50)
        elif how == "repeats":
            ids[:], similarity[:] = ids[:, :1], similarity[:, :1]
        return Answer(true.searched, ids, similarity)

    def entries(self, ids):
        """What is proven: entries of the whole memory, nothing else."""
        known = np.concatenate([self.whole.ids(name) for name in self.whole.authors])
        proven = np.isin(ids, known)
        keys = np.zeros((len(ids), DIMENSIONS), np.float32)
        labels = np.full(len(ids), -1, np.int32)
        keys[proven] = self.whole.keys(ids[proven])
        labels[proven] = self.whole.labels(ids[proven])
        return keys, labels, proven

    def merged(self, answers, liars):
        return merge_answers(
            self.queries, K, self.asked, answers, self.entries, liars=liars, own=OWN
        )

    def check(self, merged):
        want = self.whole.search_authors(self.queries, K)
        assert np.array_equal(merged.by_author.ids, want.ids)
        assert np.array_equal(merged.by_author.labels, want.labels)
        np.testing.assert_allclose(merged.by_author.similarity, want.similarity, atol=1e-6)


LIES = [
    "hides all",
    "hides the nearest",
    "invents",
    "another author's",
    "exaggerates",
    "nan",
    "repeats",
]


@given(st.integers(0, 1 << 32), st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_honest_holders_together_answer_as_the_whole_memory(seed, copies):
    world = World(seed, copies)
    merged = world.merged({who: world.honest(who) for who in world.asked}, copies - 1)
    world.check(merged)
    assert merged.uncovered == ()
    assert set(merged.false.values()) == set(merged.missed.values()) == {0}


@given(st.integers(0, 1 << 32), st.sampled_from([1, 2]), st.data())
@settings(max_examples=25, deadline=None)
def test_f_liars_of_f_plus_one_holders_hide_and_invent_nothing(seed, liars, data):
    world = World(seed, liars + 1)
    others = [who for who in sorted(world.asked) if who != OWN]
    lying = {who: data.draw(st.sampled_from(LIES)) for who in others[:liars]}
    answers = {
        who: world.lie(who, lying[who]) if who in lying else world.honest(who)
        for who in world.asked
    }
    merged = world.merged(answers, liars)
    world.check(merged)
    assert merged.uncovered == ()
    for who in world.asked:
        if who not in lying:
            assert merged.false[who] == merged.missed[who] == 0
    for who, how in lying.items():
        if how in ("invents", "another author's", "exaggerates", "nan"):
            assert merged.false[who] > 0
        elif how.startswith("hides"):
            assert merged.missed[who] > 0


@pytest.mark.parametrize("how", ["shape", "too many", "silent"])
def test_who_does_not_answer_in_form_leaves_its_batches_uncovered(how):
    world = World(1, 2)
    liar = next(who for who in sorted(world.asked) if who != OWN)
    answers = {who: world.honest(who) for who in world.asked if who != liar}
    if how != "silent":
        answers[liar] = world.lie(liar, how)
    merged = world.merged(answers, 1)
    assert set(merged.uncovered) == set(world.asked[liar])
    assert merged.false.get(liar, 0) == (0 if how == "silent" else 1)
    world.check(merged)  # the other holder of each was honest


def test_more_than_f_liars_can_hide_but_not_invent():
    world = World(2, 2)
    answers = {who: world.honest(who) for who in world.asked}
    batch = next(p for p in world.batches if OWN not in holders(p.root, PEERS, 2))
    for who in holders(batch.root, PEERS, 2):
        answers[who] = world.lie(who, "hides all")
    merged = world.merged(answers, 1)
    found = merged.by_author.ids[merged.by_author.ids >= 0]
    assert world.entries(found)[2].all()
    start = (batch.author << ROW_BITS) + batch.first
    assert not ((found >= start) & (found < start + batch.size)).any()


def test_a_leaving_peer_moves_only_what_it_kept():
    roots = [root(n) for n in range(500)]
    for batch in roots:
        before = holders(batch, PEERS, 3)
        after = holders(batch, PEERS[1:], 3)
        if PEERS[0] in before:
            assert [p for p in before if p != PEERS[0]] == after[:2]
        else:
            assert before == after
    loads = [sum(peer in holders(batch, PEERS, 3) for batch in roots) for peer in PEERS]
    assert max(loads) < 1.3 * 500 * 3 / 7
    assert min(loads) > 0.7 * 500 * 3 / 7


def test_every_holder_but_oneself_is_asked_and_nothing_is_asked_twice():
    world = World(3, 3)
    for batch in world.batches:
        keepers = holders(batch.root, PEERS, 3)
        asked = [who for who in world.asked if batch in world.asked[who]]
        assert sorted(asked) == ([OWN] if OWN in keepers else sorted(keepers))
    assert holders(root("x"), PEERS[:2], 5) == holders(root("x"), PEERS[:2], 2)


def test_nothing_asked_is_nothing_found():
    world = World(4, 2)
    world.asked = {}
    merged = world.merged({}, 1)
    assert (merged.by_author.ids == -1).all()
    assert merged.uncovered == ()
