"""A memory whose index is in pieces: who indexes which entries, and what nodes ask one another.

Every node has the key of every entry in a file, and indexes in main memory only those of its
*buckets*, besides its own entries. It sends its queries to all others; each answers with digests of
the nearest entries that it indexes. The asker finds these keys in its own file and computes the
similarities anew, so nobody can invent an entry, a label or a distance. What a holder can do is to
leave entries out. Each bucket has copies: with f + 1 of them one holder is honest where at most f
lie, and it names every entry of the bucket that is among its author's k nearest of all, since that
is among the k nearest of the fewer that this holder indexes.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.recall.digests import Digests
from workloads.recall.index import Floats
from workloads.recall.memory import AUTHORS_MAX

BUCKETS = 256
QUESTION_QUERIES_MAX = 64
NAMED_MAX = 256
"""Entries of one author that are named for one query."""
ANSWER_BYTES_MAX = 2 << 20
AUTHOR_NAME_BYTES_MAX = 255
_QUESTION = struct.Struct("<HHH")
"""Queries, dimensions, entries wanted of each author."""
_ANSWER = struct.Struct("<HHH")
"""Authors, queries, entries named of each author."""

Mask = npt.NDArray[np.bool_]


def bucket(digests: Digests) -> npt.NDArray[np.intp]:
    """Where entries belong, from the digests of their keys. Shape [n]."""
    return (digests % np.uint64(BUCKETS)).astype(np.intp)


def kept(peers: Sequence[str], copies: int, own: str) -> Mask:
    """The buckets that a peer indexes: those of which its hash is among the highest.

    A peer more or less moves only the buckets that it indexes.

    Source: Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates".

    Args:
        peers: Peer ids of all who index; the same on all nodes.
        copies: How many peers index a bucket; all if there are fewer.
        own: A peer; it indexes nothing if it is not among ``peers``.

    Returns:
        Shape [BUCKETS].
    """

    def height(number: int, peer: str) -> tuple[bytes, str]:
        key = number.to_bytes(2, "big")
        return hashlib.blake2b(peer.encode(), key=key, digest_size=16).digest(), peer

    mask = np.zeros(BUCKETS, bool)
    for number in range(BUCKETS) if own in peers else ():
        above = sum(height(number, peer) > height(number, own) for peer in peers)
        mask[number] = above < copies
    return mask


@dataclass(frozen=True, eq=False)
class Named:
    """Entries that somebody names as near to q queries."""

    authors: tuple[str, ...]
    digests: Digests
    """0 where there are too few. Shape [s, q, k]."""


def encode_question(queries: Floats, k: int) -> bytes:
    """What is asked of all: the k nearest of each author.

    Args:
        queries: Of unit length, at most ``QUESTION_QUERIES_MAX``. Shape [q, d].
        k: At most ``NAMED_MAX``.
    """
    return _QUESTION.pack(*queries.shape, k) + queries.astype("<f2").tobytes()


def decode_question(data: bytes, dimensions: int) -> tuple[Floats, int]:
    """Queries [q, d] and k.

    Raises:
        WorkloadError: These bytes are no question about keys of so many dimensions.
    """
    if len(data) < _QUESTION.size:
        raise WorkloadError("a question without its head")
    count, width, k = _QUESTION.unpack_from(data)
    fits = 1 <= count <= QUESTION_QUERIES_MAX and width == dimensions and 1 <= k <= NAMED_MAX
    if not fits or len(data) != _QUESTION.size + 2 * count * width:
        raise WorkloadError(f"a question of {count} queries of {width} numbers, k = {k}")
    rows = np.frombuffer(data, "<f2", offset=_QUESTION.size).reshape(count, width)
    if not np.isfinite(rows).all():
        raise WorkloadError("a question whose queries are not finite")
    return rows.astype(np.float32), k


def encode_answer(named: Named) -> bytes:
    """What is answered; empty if it would be above ``ANSWER_BYTES_MAX``."""
    names = [author.encode()[:AUTHOR_NAME_BYTES_MAX] for author in named.authors]
    lines = b"".join(bytes([len(name)]) + name for name in names)
    data = _ANSWER.pack(*named.digests.shape) + lines + named.digests.astype("<u8").tobytes()
    return data if len(data) <= ANSWER_BYTES_MAX else b""


def decode_answer(data: bytes, queries: int, k: int) -> Named:
    """Inverse of ``encode_answer``.

    Raises:
        WorkloadError: These bytes do not name k entries an author for so many queries.
    """
    try:
        count, width, named = _ANSWER.unpack_from(data)
        authors, at = [], _ANSWER.size
        for _ in range(min(count, AUTHORS_MAX)):
            end = at + 1 + data[at]
            authors.append(data[at + 1 : end].decode())
            at = end
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise WorkloadError(f"an answer that ends early or names nobody ({error})") from error
    size = 8 * count * width * named
    if count > AUTHORS_MAX or (width, named) != (queries, k) or len(data) != at + size:
        raise WorkloadError(f"an answer of {len(data)} bytes about {width} queries, k = {named}")
    digests = np.frombuffer(data, "<u8", offset=at).reshape(count, width, k)
    return Named(tuple(authors), digests.astype(np.uint64))
