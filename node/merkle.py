"""BLAKE3 hashes with domains, and Merkle trees whose root binds the number of leaves.

Tree: neighbours are hashed in pairs, an odd last node is promoted, and the top is hashed once
more with the count; so two lists have one root only if they are equal. Leaves, inner nodes,
roots and every other domain are hashed in different BLAKE3 key-derivation contexts.

Source: O'Connor et al. 2020, "BLAKE3", section 2.3 (derive_key); RFC 9162, section 2.1.
"""

import struct
from collections.abc import Sequence

from blake3 import blake3

from node.types import DIGEST_BYTES, Digest, JobId, PeerId

_CONTEXT = "artel v1 "
_INNER = _CONTEXT + "merkle inner"
_ROOT = _CONTEXT + "merkle root"
_LEAF = _CONTEXT + "merkle leaf"
_DIGEST = _CONTEXT + "digest "

Data = bytes | bytearray | memoryview


def digest(domain: str, data: Data) -> Digest:
    """Hash ``data`` for one purpose; equal data in another ``domain`` has another hash."""
    return Digest(blake3(data, derive_key_context=_DIGEST + domain).digest())


def leaf(kind: str, job: JobId, round_: int, peer: PeerId, index: int, data: Data) -> Digest:
    """Hash one part of what a peer commits to, bound to its place: it cannot be copied elsewhere.

    Args:
        kind: What is committed (``update``, ``result``); at most 65535 bytes of UTF-8.
        job: 32 bytes.
        round_: At least 0, below 2^64.
        peer: Who commits.
        index: Position of the part, at least 0, below 2^64.
        data: The encoded part.
    """
    kind_b, peer_b = kind.encode(), peer.encode()
    place = struct.pack(
        f"<H{len(kind_b)}sH{len(job)}sQH{len(peer_b)}sQ",
        len(kind_b), kind_b, len(job), job, round_, len(peer_b), peer_b, index,
    )  # fmt: skip
    return Digest(blake3(place, derive_key_context=_LEAF).update(data).digest())


def root(leaves: Sequence[Digest]) -> Digest:
    """Merkle root of the leaves in their order.

    Raises:
        ValueError: no leaves, or one that is not 32 bytes.
    """
    _check(leaves)
    level: Sequence[bytes] = leaves
    while len(level) > 1:
        level = _parents(level)
    return _top(len(leaves), level[0])


def proof(leaves: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """Siblings on the way from leaf ``index`` to the root, from the bottom.

    Raises:
        ValueError: no such leaf.
    """
    _check(leaves)
    if not 0 <= index < len(leaves):
        raise ValueError(f"no leaf {index} among {len(leaves)}")
    path: list[Digest] = []
    level: Sequence[bytes] = leaves
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(Digest(level[sibling]))
        level, index = _parents(level), index // 2
    return tuple(path)


def verify_proof(
    root_: Digest, leaf_: Digest, index: int, count: int, path: Sequence[Digest]
) -> bool:
    """Whether ``leaf_`` is leaf ``index`` of ``count`` under ``root_``; peer input is safe."""
    if not 0 <= index < count or any(len(node) != DIGEST_BYTES for node in (leaf_, *path)):
        return False
    node: bytes = leaf_
    size, used = count, 0
    while size > 1:
        if index ^ 1 < size:
            if used == len(path):
                return False
            node = _inner(path[used], node) if index & 1 else _inner(node, path[used])
            used += 1
        size, index = (size + 1) // 2, index // 2
    return used == len(path) and count < 1 << 64 and _top(count, node) == root_


def _check(leaves: Sequence[bytes]) -> None:
    if not leaves or any(len(each) != DIGEST_BYTES for each in leaves):
        raise ValueError("a Merkle tree needs leaves, each of 32 bytes")


def _inner(left: bytes, right: bytes) -> bytes:
    return blake3(left + right, derive_key_context=_INNER).digest()


def _parents(level: Sequence[bytes]) -> list[bytes]:
    paired = [_inner(level[k], level[k + 1]) for k in range(0, len(level) - 1, 2)]
    return paired + list(level[len(paired) * 2 :])


def _top(count: int, node: bytes) -> Digest:
    return Digest(blake3(struct.pack("<Q", count) + node, derive_key_context=_ROOT).digest())
