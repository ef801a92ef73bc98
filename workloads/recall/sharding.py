"""A memory in pieces: who keeps which, and one answer from those of holders who may lie.

Pure: asking is the caller's. Entries come in signed batches, so a holder can prove an entry, and
nobody can invent one; what a holder can do is leave entries out. If every batch is searched by
f + 1 holders, one of them is honest where at most f lie, and lists every entry of the batch that is
among its author's k nearest of all: it is among the k nearest of the less that this holder keeps.
So the k nearest of what all of them prove are those of the whole memory.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats, Ids
from workloads.recall.neighbours import ROW_BITS, Labels, Neighbours
from workloads.recall.vector_index import compare

SIMILARITY_SLACK = 1e-3
"""A holder's similarity may be off by so much before it counts as false."""

Mask = npt.NDArray[np.bool_]
Entries = Callable[[Ids], tuple[Floats, Labels, Mask]]
"""From ids to unit keys [n, d], labels [n], and which of them were proven to be in a batch [n]."""


@dataclass(frozen=True, order=True)
class BatchRef:
    """A batch of one author's entries, as all nodes know it."""

    author: int
    """Number of the author, below 2^22."""
    first: int
    """Number of its first entry among those of the author."""
    size: int
    """Entries in it, at least 1."""
    root: bytes
    """What its author signed."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a holder says to a list of queries. Everything in it may be a lie."""

    searched: frozenset[bytes]
    """Roots of the batches that it looked through."""
    ids: Ids
    """The k nearest of each author, in any order; -1 fills up. Shape [q, n]."""
    similarity: Floats
    """Shape [q, n]."""


@dataclass(frozen=True, eq=False)
class Merged:
    """The holders' answers as one."""

    by_author: Neighbours
    """As ``VectorMemory.search_authors`` gives it. Shape [s, q, k]."""
    uncovered: tuple[BatchRef, ...]
    """Batches that too few holders searched: entries of them may be missing."""
    false: Mapping[str, int]
    """Claims of each holder that are not so, or 1 for a wrong shape: only liars make any."""
    missed: Mapping[str, int]
    """Neighbours that a holder left out although it searched their batch: a liar, or an index that
    is not exact."""


def holders(root: bytes, peers: Iterable[str], copies: int) -> list[str]:
    """The peers that keep a batch: those of the highest hash with it.

    A peer that leaves or comes moves only the batches that it keeps.

    Source: Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates".

    Args:
        root: Of the batch.
        peers: Peer ids of all, oneself included.
        copies: How many, r; all peers if there are fewer.
    """

    def height(peer: str) -> bytes:
        return hashlib.blake2b(peer.encode(), key=root[:64], digest_size=16).digest()

    return sorted(peers, key=lambda peer: (height(peer), peer), reverse=True)[:copies]


def kept(
    batches: Iterable[BatchRef], peers: Sequence[str], copies: int, peer: str
) -> list[BatchRef]:
    """The batches that one peer keeps."""
    return [batch for batch in batches if peer in holders(batch.root, peers, copies)]


def to_ask(
    batches: Iterable[BatchRef], peers: Sequence[str], copies: int, own: str
) -> dict[str, list[BatchRef]]:
    """Whom to ask about which batches: all holders of those that one does not keep oneself."""
    asked: dict[str, list[BatchRef]] = {}
    for batch in batches:
        keepers = holders(batch.root, peers, copies)
        if own not in keepers:
            for peer in keepers:
                asked.setdefault(peer, []).append(batch)
    return asked


def merge_answers(
    queries: Floats,
    k: int,
    asked: Mapping[str, Sequence[BatchRef]],
    answers: Mapping[str, Answer],
    entries: Entries,
    *,
    liars: int,
    own: str,
) -> Merged:
    """The k nearest entries of every author from what holders say.

    Args:
        queries: Of length 1. Shape [q, d].
        k: Of each author, at least 1.
        asked: The batches that each holder was asked to search; under ``own`` those that one
            searches oneself. Batches of one author do not overlap.
        answers: By holder, with one's own. One of a wrong shape is false and not read.
        entries: Finds entries and checks their proofs; asked once, for all ids that are claimed.
        liars: How many holders of one batch may lie, f.
        own: The holder that is believed: its word alone covers a batch.
    """
    batches = sorted({batch for some in asked.values() for batch in some})
    authors = 1 + max((batch.author for batch in batches), default=0)
    sound = {
        who: answers[who]
        for who in sorted(asked)
        if who in answers and _well_formed(answers[who], len(queries), k * authors)
    }
    claimed = [np.empty((len(queries), 0), np.int64), *(a.ids for a in sound.values())]
    known = np.unique(np.concatenate(claimed, axis=1))
    facts = _Facts(queries, known, *entries(known))
    searched = {}
    for who, answer in sound.items():
        meant = {batch for batch in asked[who] if batch.root in answer.searched}
        searched[who] = np.array([batch in meant for batch in batches], bool)
    right = {
        who: facts.agree(answer) & _among(answer.ids, batches, searched[who])
        for who, answer in sound.items()
    }
    lists = {who: np.where(right[who], sound[who].ids, -1) for who in sound}
    by_author = facts.nearest(np.concatenate([claimed[0], *lists.values()], axis=1), authors, k)
    false = {who: int(who not in sound) for who in sorted(set(answers) & set(asked))}
    missed = {}
    for who, answer in sound.items():
        false[who] = int(((answer.ids >= 0) & ~right[who]).sum())
        expected = _among(by_author.ids, batches, searched[who])
        listed = (by_author.ids[..., None] == lists[who][:, None, :]).any(axis=-1)
        missed[who] = int((expected & ~listed).sum())
    votes = np.sum([*searched.values(), np.zeros(len(batches), bool)], axis=0, dtype=int)
    covered = (votes > liars) | searched.get(own, np.zeros(len(batches), bool))
    uncovered = tuple(batch for batch, is_ in zip(batches, covered, strict=True) if not is_)
    return Merged(by_author, uncovered, false, missed)


class _Facts:
    """What is true of the claimed entries.

    Args:
        queries: Shape [q, d].
        known: Ids, sorted. Shape [n].
        keys: Shape [n, d].
        labels: Shape [n].
        proven: Shape [n].
    """

    def __init__(
        self, queries: Floats, known: Ids, keys: Floats, labels: Labels, proven: Mask
    ) -> None:
        self._queries = queries
        # one more row, which stands for whatever is missing
        self._known = np.append(known, np.iinfo(np.int64).max)
        self._keys = np.concatenate([keys, np.zeros((1, queries.shape[1]), np.float32)])
        self._labels = np.append(labels, np.int32(-1)).astype(np.int32)
        self._proven = np.append(proven, False)

    def agree(self, answer: Answer) -> Mask:
        """Which claims are of proven entries, with their similarity. Shape [q, n]."""
        at, exact = self._look_up(answer.ids)
        true = self._proven[at] & (answer.ids >= 0)
        agrees: Mask = true & (np.abs(answer.similarity - exact) <= SIMILARITY_SLACK)
        return agrees

    def nearest(self, ids: Ids, authors: int, k: int) -> Neighbours:
        """The k nearest of each author; an entry may be named more than once. Shape [s, q, k]."""
        ids = np.sort(ids, axis=1)
        ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = -1
        at, exact = self._look_up(ids)
        everything = Neighbours(ids, exact, self._labels[at]).without(ids < 0)
        each = [everything.without(everything.authors != a).nearest(k) for a in range(authors)]
        return Neighbours(
            np.stack([near.ids for near in each]),
            np.stack([near.similarity for near in each]),
            np.stack([near.labels for near in each]),
        )

    def _look_up(self, ids: Ids) -> tuple[Ids, Floats]:
        """Rows and similarities; those of the missing entry mean nothing. Shapes [q, n]."""
        at = np.searchsorted(self._known, np.where(ids < 0, self._known[-1], ids))
        return at, compare(self._queries, at, self._keys.__getitem__)


def _well_formed(answer: Answer, queries: int, width_max: int) -> bool:
    ids, similarity = answer.ids, answer.similarity
    shape = ids.ndim == 2 and len(ids) == queries and ids.shape[1] <= width_max
    return (
        shape
        and ids.shape == similarity.shape
        and ids.dtype == np.int64
        and similarity.dtype == np.float32
    )


def _among(ids: Ids, batches: Sequence[BatchRef], chosen: Mask) -> Mask:
    """Which entries are in one of the chosen batches, in the order of ``batches``. Shape as ids."""
    if not batches:
        return np.zeros(ids.shape, bool)
    starts = np.array([(batch.author << ROW_BITS) + batch.first for batch in batches], np.int64)
    sizes = np.array([batch.size for batch in batches], np.int64)
    at = np.maximum(np.searchsorted(starts, ids, side="right") - 1, 0)
    inside: Mask = (ids >= starts[at]) & (ids < starts[at] + sizes[at])
    return inside & chosen[at]
