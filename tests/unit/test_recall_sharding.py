"""An index in pieces answers as a whole one, whatever f holders of f + 1 say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.api import WorkloadError
from workloads.recall.sharding import (
    BUCKETS,
    Named,
    bucket,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    kept,
)
from workloads.recall.vectors import VectorMemory

pytest.importorskip("faiss", reason="the extra that brings faiss is not installed")
DIMENSIONS, AUTHORS, K = 8, 3, 4
PEERS = [f"peer {n}" for n in range(5)]


class World:
    """A memory that one node has whole, and of which every peer indexes its part."""

    def __init__(self, seed, copies):
        rng = np.random.default_rng(seed)
        self.whole = VectorMemory(DIMENSIONS)
        self.parts = {}
        for peer in PEERS:
            mask = kept(PEERS, copies, peer)
            self.parts[peer] = VectorMemory(DIMENSIONS, keep=lambda d, mask=mask: mask[bucket(d)])
        for author in range(AUTHORS):
            for size in rng.integers(1, 30, 3).tolist():
                keys = rng.normal(0, 1, (size, DIMENSIONS))
                labels = rng.integers(0, 5, size)
                for memory in (self.whole, *self.parts.values()):
                    memory.add(f"author {author}", keys, labels)
        self.queries = rng.normal(0, 1, (6, DIMENSIONS)).astype(np.float32)

    def named(self, peer):
        """What a peer answers, as it comes out of the bytes."""
        memory = self.parts[peer]
        near = memory.search_authors(*decode_question(self.question(), DIMENSIONS))
        digests = np.zeros(near.ids.shape, np.uint64)
        digests[near.ids >= 0] = memory.digests(near.ids[near.ids >= 0])
        return decode_answer(encode_answer(Named(tuple(memory.authors), digests)), 6, K)

    def question(self):
        units = self.queries / np.sqrt((self.queries**2).sum(axis=1, keepdims=True))
        return encode_question(units, K)

    def found(self, asker, answers):
        """The k nearest of each author, as the asker finds them."""
        memory = self.parts[asker]
        ids = [
            memory.find(author, digests)
            for answer in answers
            for author, digests in zip(answer.authors, answer.digests, strict=True)
        ]
        queries, _ = decode_question(self.question(), DIMENSIONS)
        named = np.concatenate(ids, axis=1) if ids else None
        return memory.search_authors(queries, K, named=named)

    @property
    def truth(self):
        queries, _ = decode_question(self.question(), DIMENSIONS)
        return self.whole.search_authors(queries, K)


@given(st.integers(0, 1 << 32), st.sampled_from(PEERS), st.sampled_from(PEERS[1:]))
@settings(max_examples=8, deadline=None)
def test_one_honest_holder_of_each_entry_is_enough(seed, asker, liar):
    world = World(seed, copies=2)
    answers = [world.named(peer) for peer in PEERS if peer not in (asker, liar)]
    if asker != liar:
        lie = world.named(liar)  # true entries beside the wrong queries, and invented ones
        wrong = np.roll(lie.digests, 1, axis=1)
        wrong[:, :, 0] = 12345
        answers.append(Named(lie.authors, wrong))
    found, truth = world.found(asker, answers), world.truth
    assert np.array_equal(found.ids, truth.ids)
    assert np.array_equal(found.labels, truth.labels)
    assert np.allclose(
        found.similarity[truth.ids >= 0], truth.similarity[truth.ids >= 0], atol=1e-3
    )


def test_without_answers_only_the_own_part_is_found_and_takes_less_memory():
    world = World(7, copies=1)
    found, truth = world.found(PEERS[0], []), world.truth
    assert 0 < np.isin(found.ids, truth.ids).mean() < 1
    assert world.parts[PEERS[0]].bytes < world.whole.bytes
    ids = world.whole.ids("author 1")
    assert np.allclose(world.parts[PEERS[0]].keys(ids), world.whole.keys(ids), atol=1e-3)


@pytest.mark.parametrize("copies", [1, 2, 9])
def test_each_bucket_has_its_copies_and_seldom_moves(copies):
    masks = np.array([kept(PEERS, copies, peer) for peer in PEERS])
    assert (masks.sum(axis=0) == min(copies, len(PEERS))).all()
    without = np.array([kept(PEERS[1:], copies, peer) for peer in PEERS[1:]])
    assert (masks[1:] <= without).all(), "who stays keeps what it has"
    assert not kept(PEERS, copies, "a stranger").any()
    assert bucket(np.array([0, BUCKETS + 3, 2**64 - 1], np.uint64)).tolist() == [0, 3, BUCKETS - 1]


def test_entries_of_an_author_that_was_removed_are_not_found():
    world = World(3, copies=5)
    memory = world.parts[PEERS[0]]
    named = world.truth.ids[2]  # of the first author that is not oneself
    gone = memory.remove("author 1")
    queries, _ = decode_question(world.question(), DIMENSIONS)
    memory.add("author 1", np.eye(DIMENSIONS), np.zeros(DIMENSIONS, int))
    near = memory.search_authors(queries, K, named=named)
    assert gone > 0
    assert not np.isin(near.ids, named[named >= 0]).any()
    assert (memory.find("author 1", world.whole.digests(named.ravel())) == -1).all()


@given(st.binary(max_size=80), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_hostile_bytes_are_refused(data, queries):
    for decode in (
        lambda: decode_question(data, DIMENSIONS),
        lambda: decode_answer(data, queries, 3),
    ):
        try:
            decode()
        except WorkloadError:
            continue
    sound = encode_answer(Named(("a", "b"), np.ones((2, queries, 3), np.uint64)))
    assert decode_answer(sound, queries, 3).authors == ("a", "b")
    for broken in (sound[:-1], sound + b"x", b"\xff" + sound[1:], sound[:5]):
        with pytest.raises(WorkloadError):
            decode_answer(broken, queries, 3)
    crowd = encode_answer(Named(("a",) * 65, np.ones((65, queries, 3), np.uint64)))
    with pytest.raises(WorkloadError):
        decode_answer(crowd, queries, 3)
    with pytest.raises(WorkloadError, match="k = 3"):
        decode_answer(sound, queries, 2)
    with pytest.raises(WorkloadError):
        decode_question(encode_question(np.ones((1, DIMENSIONS)), 3)[:-1], DIMENSIONS)
    with pytest.raises(WorkloadError):
        decode_question(encode_question(np.ones((1, DIMENSIONS)), 0), DIMENSIONS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_question_of_numbers_that_are_not_finite_is_refused(value: float) -> None:
    queries = np.full((2, DIMENSIONS), value, np.float32)
    with pytest.raises(WorkloadError, match="not finite"):
        decode_question(encode_question(queries, 3), DIMENSIONS)
