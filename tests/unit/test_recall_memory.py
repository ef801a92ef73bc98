"""Nodes are unique keys, values are by author, and forgetting leaves the others as they were."""

import numpy as np
import pytest

from workloads.api import WorkloadError
from workloads.recall.index import FlatIndex, GraphIndex
from workloads.recall.memory import AUTHORS_MAX, Memory, digest

GROUPS, DIMENSIONS = 3, 6


def flat_memory():
    return Memory(GROUPS, DIMENSIONS, lambda: FlatIndex(DIMENSIONS))


def entries(rng, count):
    keys = rng.integers(-5, 6, (count, DIMENSIONS)).astype(np.int8)
    groups = rng.integers(GROUPS, size=count).astype(np.uint8)
    return groups, keys, rng.normal(0, 1, count).astype(np.float32)


def test_nearest_nodes_of_each_group_are_found_exactly():
    rng = np.random.default_rng(1)
    memory, (groups, keys, values) = flat_memory(), entries(rng, 300)
    memory.write(0, groups, keys, values)
    query = rng.normal(0, 3, DIMENSIONS).astype(np.float32)
    squares, found, nodes = memory.near(query, 8)
    for group in range(GROUPS):
        mine = np.flatnonzero(memory.groups == group)
        want = np.sort(((memory.keys[mine] - query) ** 2).sum(axis=1))[:8]
        np.testing.assert_allclose(squares[group], want, rtol=1e-5)
        assert np.array_equal(found[0, group], memory.values[0, nodes[group]])


def test_few_nodes_leave_infinite_distances():
    memory = flat_memory()
    memory.write(0, np.uint8([1]), np.ones((1, DIMENSIONS), np.int8), np.float32([7]))
    squares, values, _ = memory.near(np.zeros(DIMENSIONS, np.float32), 2)
    assert np.isfinite(squares).tolist() == [[False, False], [True, False], [False, False]]
    assert values[0, 1, 0] == 7


def test_equal_keys_are_one_node_with_a_value_for_each_author():
    memory = flat_memory()
    groups, keys, values = entries(np.random.default_rng(2), 50)
    memory.write(0, groups, keys, values)
    before = memory.nodes
    number = memory.number("another")
    memory.write(number, groups, keys, values + 1)
    assert memory.nodes == before
    np.testing.assert_allclose(memory.values[1], memory.values[0] + 1, rtol=1e-5)
    assert memory.find(int(groups[0]), digest(keys[0])) == 0
    assert memory.find(int(groups[0]), digest(keys[0] + 100)) == -1


def test_a_later_entry_replaces_an_earlier_one():
    memory = flat_memory()
    key = np.ones((1, DIMENSIONS), np.int8)
    memory.write(0, np.uint8([1]), key, np.float32([1]))
    memory.write(0, np.uint8([1]), key, np.float32([2]))
    assert memory.values.tolist() == [[2]]


def test_forgetting_an_author_is_as_if_it_had_never_been():
    rng = np.random.default_rng(3)
    own, foreign = entries(rng, 200), entries(rng, 200)
    memory, clean = flat_memory(), flat_memory()
    memory.write(0, *own)
    memory.write(memory.number("liar"), *foreign)
    clean.write(0, *own)
    old = memory.keys.copy()
    moved = memory.forget(1)
    assert memory.nodes == clean.nodes
    assert np.array_equal(memory.keys, clean.keys)
    assert np.array_equal(memory.values[0], clean.values[0])
    assert np.array_equal(memory.keys[moved[moved >= 0]], old[moved >= 0])
    query = rng.normal(0, 3, DIMENSIONS).astype(np.float32)
    assert np.array_equal(memory.near(query, 5)[0], clean.near(query, 5)[0])


def test_a_kept_memory_comes_back():
    memory, again = flat_memory(), flat_memory()
    memory.write(0, *entries(np.random.default_rng(4), 2000))
    memory.write(memory.number("b"), *entries(np.random.default_rng(5), 100))
    again.load(memory.dump())
    assert dict(again.authors) == {"b": 1}
    assert np.array_equal(again.values, memory.values, equal_nan=True)
    query = np.zeros(DIMENSIONS, np.float32)
    assert np.array_equal(memory.near(query, 8)[2], again.near(query, 8)[2])


def test_a_memory_of_another_shape_is_refused():
    wrong = Memory(GROUPS, DIMENSIONS + 1, lambda: FlatIndex(DIMENSIONS + 1))
    with pytest.raises(WorkloadError, match="other shapes"):
        flat_memory().load(wrong.dump())


def test_authors_are_limited():
    memory = flat_memory()
    for number in range(1, AUTHORS_MAX):
        assert memory.number(f"author {number}") == number
    with pytest.raises(WorkloadError, match="at most 64 authors"):
        memory.number("one more")


def test_graph_finds_nearly_what_the_exact_index_finds():
    pytest.importorskip("faiss", reason="the extra nait is not installed")
    rng = np.random.default_rng(6)
    keys = rng.integers(-60, 61, (1500, 16)).astype(np.int8)
    flat, graph = FlatIndex(16), GraphIndex(16)
    for key in keys:
        flat.add(key)
        graph.add(key)
    hits = 0
    for query in rng.integers(-60, 61, (50, 16)).astype(np.float32):
        results = []
        for index in (flat, graph):
            squares, ids = np.empty(8, np.float32), np.empty(8, np.int64)
            index.search(query, squares, ids)
            results.append(set(ids.tolist()))
        hits += len(results[0] & results[1])
    assert hits >= 0.9 * 50 * 8
