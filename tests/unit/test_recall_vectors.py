"""Labelled vectors by author: found as a naive search finds them, and taken out without a trace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.api import WorkloadError
from workloads.recall import coded_vectors
from workloads.recall.memory import AUTHORS_MAX
from workloads.recall.neighbours import ROW_BITS
from workloads.recall.vector_index import IndexSettings
from workloads.recall.vectors import OWN, VectorMemory
from workloads.recall.widening import widen_into, widened

pytest.importorskip("faiss", reason="the extra that brings faiss is not installed")
DIMENSIONS = 16
EXACT = [IndexSettings("flat", "fp16"), IndexSettings("flat", "fp32")]
ALL = [*EXACT, IndexSettings("graph", "fp16"), IndexSettings("graph", "fp32")]


def filled(how, rng, sizes=(40, 25, 30)):
    """A memory of three authors, added in turns, and its entries: keys, labels, ids."""
    memory = VectorMemory(DIMENSIONS, how)
    keys, labels, ids = [], [], []
    for author, size in zip((OWN, "b", "a"), sizes, strict=True):
        for _ in range(2):
            some = rng.normal(0, 1, (size, DIMENSIONS)).astype(np.float32)
            classes = rng.integers(0, 5, size)
            ids.append(memory.add(author, some, classes))
            keys.append(some)
            labels.append(classes)
    return memory, np.concatenate(keys), np.concatenate(labels), np.concatenate(ids)


def naive(memory, ids, query, k, excluded=()):
    """Ids of the nearest, entry by entry."""
    unit = query / np.sqrt((query * query).sum())
    kept = memory.keys(ids)
    found = sorted(
        (-float((key * unit).sum()), int(id_))
        for key, id_ in zip(kept, ids, strict=True)
        if id_ not in excluded
    )
    return [id_ for _, id_ in found[:k]]


@pytest.mark.parametrize("how", EXACT)
@pytest.mark.parametrize("queries", [1, 40])
@given(st.integers(0, 1 << 32), st.integers(1, 12))
@settings(max_examples=6, deadline=None)
def test_exact_search_is_the_naive_one(how, queries, seed, k):
    rng = np.random.default_rng(seed)
    memory, _, _, ids = filled(how, rng)
    asked = rng.normal(0, 1, (queries, DIMENSIONS)).astype(np.float32)
    near = memory.search(asked, k)
    assert (np.diff(near.similarity, axis=1) <= 0).all()
    assert np.array_equal(near.labels, memory.labels(near.ids.ravel()).reshape(near.ids.shape))
    for query, got in zip(asked, near.ids, strict=True):
        assert got.tolist() == naive(memory, ids, query, k)


@pytest.mark.parametrize("how", ALL)
def test_an_own_entry_and_its_copies_are_left_out_in_training(how):
    rng = np.random.default_rng(1)
    memory, keys, _, ids = filled(how, rng)
    copies = memory.add("copier", keys[:10], np.zeros(10, int))
    near = memory.search(keys[:10], 5, ids[:10])
    for query, own, copy, got in zip(keys, ids, copies, near.ids, strict=False):
        assert got.tolist() == naive(memory, np.concatenate([ids, copies]), query, 5, (own, copy))
    with_copies = memory.search_authors(keys[:10], 5, ids[:10], copies=False)
    assert np.array_equal(with_copies.ids[-1, :, 0], copies)
    assert not (with_copies.ids == ids[:10, None]).any()


def test_nothing_is_left_out_where_the_id_is_minus_one():
    memory, keys, _, ids = filled(EXACT[0], np.random.default_rng(2))
    near = memory.search(keys[:2], 3, np.array([-1, ids[1]]))
    assert near.ids[0, 0] == ids[0]
    assert near.ids[1, 0] != ids[1]


@pytest.mark.parametrize("how", ALL)
def test_an_author_taken_out_is_as_if_it_had_never_been(how):
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    memory, *_ = filled(how, first)
    clean, *_ = filled(how, second)
    liar = np.random.default_rng(4).normal(0, 1, (60, DIMENSIONS)).astype(np.float32)
    memory.add("liar", liar, np.zeros(60, int))
    assert memory.search(liar[:1], 1).authors[0, 0] == memory.authors["liar"]
    assert memory.remove("liar") == 60
    queries = first.normal(0, 1, (20, DIMENSIONS)).astype(np.float32)
    got, want = memory.search(queries, 7), clean.search(queries, 7)
    assert np.array_equal(got.ids, want.ids)
    assert np.array_equal(got.similarity, want.similarity)
    assert memory.entries("liar") == memory.remove("nobody") == 0


def test_ids_are_never_given_again():
    memory = VectorMemory(2)
    before = memory.add("a", np.eye(2), [0, 1])
    memory.remove("a")
    after = memory.add("a", np.eye(2), [0, 1])
    assert not set(before.tolist()) & set(after.tolist())
    assert memory.ids("a").tolist() == after.tolist()
    with pytest.raises(WorkloadError, match="not there any more"):
        memory.labels(before)


def test_a_key_given_again_keeps_its_entry_and_takes_the_newest_label():
    memory = VectorMemory(3)
    ids = memory.add("a", np.eye(3)[[0, 1, 0]], [4, 5, 6])
    assert ids[0] == ids[2]
    again = memory.add("a", 2 * np.eye(3)[[1]], [9])
    assert again[0] == ids[1]
    assert memory.labels(memory.ids("a")).tolist() == [6, 9]


def test_many_batches_keep_keys_labels_and_ids_together():
    rng, memory = np.random.default_rng(5), VectorMemory(4)
    keys = rng.normal(0, 1, (9000, 4)).astype(np.float32)
    parts = np.split(np.arange(9000), np.sort(rng.integers(0, 9000, 30)))
    ids = np.concatenate([memory.add("a", keys[part], part % 50) for part in parts])
    again = memory.add("a", keys, np.arange(9000) % 50)
    assert np.array_equal(ids, again)
    assert len(memory) == 9000
    assert np.array_equal(memory.labels(ids), np.arange(9000) % 50)
    units = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    np.testing.assert_allclose(memory.keys(ids), units, atol=1e-3)
    near = memory.search(keys[:20], 3)
    for query, got in zip(keys, near.ids, strict=False):
        assert got.tolist() == naive(memory, ids, query, 3)


def test_equal_similarities_are_in_the_order_of_ids_and_the_rest_is_missing():
    memory = VectorMemory(2)
    for author in ("c", "b"):
        memory.add(author, np.eye(2), [0, 1])
    near = memory.search(np.array([[1.0, 0.0]]), 6)
    one, two = 1 << ROW_BITS, 2 << ROW_BITS
    assert near.ids.tolist() == [[one, two, one + 1, two + 1, -1, -1]]
    assert near.labels.tolist() == [[0, 0, 1, 1, -1, -1]]
    assert near.authors.tolist() == [[1, 2, 1, 2, -1, -1]]
    assert np.isneginf(near.similarity[0, 4:]).all()


def test_an_answer_does_not_depend_on_the_other_queries():
    memory, *_ = filled(EXACT[0], np.random.default_rng(6))
    queries = np.random.default_rng(7).normal(0, 1, (30, DIMENSIONS)).astype(np.float32)
    together = memory.search(queries, 5)
    for row in range(30):
        alone = memory.search(queries[row : row + 1], 5)
        assert np.array_equal(alone.ids[0], together.ids[row])
        assert np.array_equal(alone.similarity[0], together.similarity[row])


@pytest.mark.parametrize("storage", ["fp16", "fp32"])
def test_graph_finds_nearly_what_the_exact_index_finds(storage):
    rng = np.random.default_rng(8)
    keys = rng.normal(0, 1, (2000, DIMENSIONS)).astype(np.float32)
    queries = rng.normal(0, 1, (50, DIMENSIONS)).astype(np.float32)
    flat = VectorMemory(DIMENSIONS, IndexSettings("flat", storage))
    graph = VectorMemory(DIMENSIONS, IndexSettings("graph", storage))
    for memory in (flat, graph):
        memory.add("a", keys, np.zeros(2000, int))
    want, got = flat.search(queries, 10).ids, graph.search(queries, 10).ids
    hits = sum(len(set(a) & set(b)) for a, b in zip(want.tolist(), got.tolist(), strict=True))
    assert hits >= 0.97 * 500


@pytest.mark.parametrize(
    ("keys", "labels", "text"),
    [
        (np.ones((2, 3)), [0, 0], "not \\[n, 4\\]"),
        (np.ones((2, 4)), [0], "as many whole labels"),
        (np.ones((2, 4)), [0.5, 1], "as many whole labels"),
        (np.ones((2, 4)), [0, -1], "labels are from 0"),
        (np.ones((2, 4)), [0, 1 << 16], "labels are from 0"),
        (np.zeros((2, 4)), [0, 0], "finite and not zero"),
        (np.full((2, 4), np.nan), [0, 0], "finite and not zero"),
        (np.full((2, 4), np.float32(3e38)), [0, 0], "finite and not zero"),
        (np.ones((9, 4)), [0] * 9, "at most 8 entries"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_taken(keys, labels, text):
    memory = VectorMemory(4, author_entries_max=8)
    with pytest.raises(WorkloadError, match=text):
        memory.add("a", keys, labels)
    assert len(memory) == 0


def test_authors_and_neighbours_are_limited():
    memory = VectorMemory(2)
    for number in range(1, AUTHORS_MAX):
        memory.add(f"author {number}", np.eye(2), [0, 1])
    with pytest.raises(WorkloadError, match="at most 64 authors"):
        memory.add("one more", np.eye(2), [0, 1])
    with pytest.raises(WorkloadError, match="1 to 1024 neighbours"):
        memory.search(np.eye(2), 0)
    with pytest.raises(WorkloadError, match="one id to exclude"):
        memory.search(np.eye(2), 1, np.array([-1]))
    with pytest.raises(WorkloadError, match="no entry with such an id"):
        memory.search(np.eye(2), 1, np.array([99 << ROW_BITS, -1]))


def test_codes_are_exact_until_they_are_trained_and_nearly_so_after(monkeypatch):
    monkeypatch.setattr(coded_vectors, "TRAIN_ROWS", 2000)
    monkeypatch.setattr(coded_vectors, "ITERATIONS", 3)
    rng = np.random.default_rng(9)
    basis = rng.normal(0, 1, (6, DIMENSIONS))
    keys = rng.normal(0, 1, (9000, 6)) @ basis + rng.normal(0, 0.1, (9000, DIMENSIONS))
    flat = VectorMemory(DIMENSIONS, EXACT[0])
    how = IndexSettings("codes", code_bytes=4, probes=16, rerank=8)
    codes = VectorMemory(DIMENSIONS, how)
    queries = keys[rng.integers(0, 9000, 60)] + rng.normal(0, 0.05, (60, DIMENSIONS))
    recalls = []
    for start in range(0, 9000, 1500):  # trained at 3000, and anew beyond 12000 only
        for memory in (flat, codes):
            memory.add("a", keys[start : start + 1500], np.arange(1500) % 7)
        want, got = flat.search(queries, 10), codes.search(queries, 10)
        pairs = zip(want.ids.tolist(), got.ids.tolist(), strict=True)
        recalls.append(sum(len(set(a) & set(b)) for a, b in pairs) / 600)
        same = want.ids[:, 0] == got.ids[:, 0]
        assert np.array_equal(want.similarity[same, 0], got.similarity[same, 0])
    assert recalls[0] == 1
    assert min(recalls[1:]) > 0.9
    assert codes.bytes < flat.bytes
    assert np.array_equal(codes.keys(codes.ids("a")), flat.keys(flat.ids("a")))


def test_codes_alone_order_by_what_they_stand_for(monkeypatch):
    monkeypatch.setattr(coded_vectors, "TRAIN_ROWS", 2000)
    rng = np.random.default_rng(10)
    keys = rng.normal(0, 1, (2000, DIMENSIONS))
    memory = VectorMemory(DIMENSIONS, IndexSettings("codes", code_bytes=8, probes=64, rerank=0))
    memory.add("a", keys, np.zeros(2000, int))
    near = memory.search(keys[:50], 3)
    exact = np.einsum("qnd,qd->qn", memory.keys(near.ids.ravel()).reshape(50, 3, -1), keys[:50])
    exact /= np.linalg.norm(keys[:50], axis=1)[:, None]
    assert 0.001 < np.abs(near.similarity - exact).max() < 0.2
    assert (np.diff(near.similarity, axis=1) <= 0).all()


def test_codes_must_divide_the_key():
    with pytest.raises(WorkloadError, match="must divide the 16 dimensions"):
        VectorMemory(DIMENSIONS, IndexSettings("codes", code_bytes=5))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_widening_keeps_every_value_there_is(kind):
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    keys = bits[np.isfinite(bits)].astype(kind).reshape(-1, 2)
    wide, into = widened(keys[:, 1:]), np.empty(keys.shape, np.float32)
    widen_into(into, keys)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(
        wide.view(np.uint32), keys[:, 1:].astype(np.float32).view(np.uint32)
    )
    np.testing.assert_array_equal(into, keys.astype(np.float32))
