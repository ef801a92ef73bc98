"""Merkle roots: every leaf is provable, nothing else is, and the count is bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.merkle import digest, leaf, proof, root, verify_proof
from node.types import Digest, JobId, PeerId

JOB = JobId(b"j" * 32)


def leaves(count: int) -> list[Digest]:
    return [digest("test", bytes([k])) for k in range(count)]


@given(st.integers(1, 70), st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_each_leaf_is_provable_at_its_own_place_only(count: int, data: st.DataObject) -> None:
    tree = leaves(count)
    top = root(tree)
    index = data.draw(st.integers(0, count - 1))
    path = proof(tree, index)
    assert verify_proof(top, tree[index], index, count, path)
    assert not verify_proof(top, digest("test", b"other"), index, count, path)
    assert not verify_proof(top, tree[index], index, count, (*path, tree[0]))
    assert not verify_proof(top, tree[index], index, count + 1, path)
    assert not verify_proof(top, tree[index], -1, count, path)
    if path:
        assert not verify_proof(top, tree[index], index, count, path[:-1])
        assert not verify_proof(top, tree[index], index, count, (Digest(b"short"), *path[1:]))
    if count > 1:
        assert not verify_proof(top, tree[index], (index + 1) % count, count, path)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    # Without the count in the root, [a, b, c] and [H(a, b), c] would share one.
    tree = leaves(3)
    inner = proof(tree, 2)[0]
    assert root([inner, tree[2]]) != root(tree)
    assert root(tree[:1]) != tree[0]


def test_no_leaves_and_short_leaves_are_refused() -> None:
    for bad in ([], [Digest(b"short")]):
        with pytest.raises(ValueError, match="leaves"):
            root(bad)
    with pytest.raises(ValueError, match="no leaf"):
        proof(leaves(3), 3)


def test_a_leaf_binds_all_that_it_is_given() -> None:
    peer = PeerId("12D3KooWabc")
    base = leaf("update", JOB, 1, peer, 0, b"data")
    others = [
        leaf("result", JOB, 1, peer, 0, b"data"),
        leaf("update", JobId(b"k" * 32), 1, peer, 0, b"data"),
        leaf("update", JOB, 2, peer, 0, b"data"),
        leaf("update", JOB, 1, PeerId("12D3KooWabd"), 0, b"data"),
        leaf("update", JOB, 1, peer, 1, b"data"),
        leaf("update", JOB, 1, peer, 0, b"Data"),
    ]
    assert len({base, *others}) == 7
    assert leaf("update", JOB, 1, peer, 0, memoryview(b"data")) == base


def test_a_digest_depends_on_its_domain() -> None:
    assert digest("a", b"x") != digest("b", b"x")
    assert len(digest("a", b"")) == 32
