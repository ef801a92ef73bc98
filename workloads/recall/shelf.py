"""The labelled vectors of one author."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from workloads.recall.coded_vectors import CodedVectors
from workloads.recall.digests import Digests, DigestTable, digest
from workloads.recall.index import Floats, Ids
from workloads.recall.neighbours import ROW_BITS, Labels, Neighbours
from workloads.recall.part_vectors import Keep, PartVectors
from workloads.recall.vector_index import (
    FlatVectors,
    GraphVectors,
    IndexSettings,
    VectorIndex,
    compare,
)

Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


def make_index(dimensions: int, settings: IndexSettings, keep: Keep | None = None) -> VectorIndex:
    """An empty index, of all keys or of those that are kept.

    Raises:
        WorkloadError: The extra that brings faiss is not installed, or a setting cannot work.
    """
    if keep is not None:
        return PartVectors(make_index(dimensions, settings), dimensions, keep)
    if settings.kind == "graph":
        return GraphVectors(dimensions, settings)
    if settings.kind == "codes":
        return CodedVectors(dimensions, settings)
    return FlatVectors(dimensions, settings.storage)


class Shelf:
    """Entries of one author.

    Args:
        first: How many entries of this author have been removed before.
        index: Empty.
    """

    def __init__(self, first: int, index: VectorIndex) -> None:
        self.first = first
        self.index = index
        self._table = DigestTable()
        self._labels = np.empty(64, np.int32)
        self._digests = np.empty(64, np.uint64)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def labels(self) -> Labels:
        """Shape [n]."""
        return self._labels[: len(self)]

    @property
    def digests(self) -> Digests:
        """Shape [n]."""
        return self._digests[: len(self)]

    @property
    def bytes(self) -> int:
        """Main memory."""
        return self.index.bytes + self._labels.nbytes + self._digests.nbytes + self._table.bytes

    def add(self, units: Floats, labels: Labels) -> Ids:
        """The rows of the entries, new or known. Shape [n]."""
        digests = digest(units)
        rows, fresh = self._table.place(digests)
        self._labels = grown(self._labels, len(self))
        self._digests = grown(self._digests, len(self))
        self._labels[rows] = labels
        self._digests[rows] = digests
        if len(fresh):
            self.index.add(units[fresh])
        return rows

    def find(self, digests: Digests) -> Ids:
        """Places of keys among all that the author ever gave, -1 where it has none. Shape as is."""
        rows = self._table.find(digests.ravel()).reshape(digests.shape)
        return np.where(rows < 0, -1, self.first + rows)

    def search(
        self,
        units: Floats,
        k: int,
        number: int,
        exclude: Mask,
        digests: Digests,
        named: Ids | None = None,
    ) -> Neighbours:
        """The k nearest, without the key of that digest where there is something to exclude.

        Args:
            units: Shape [q, d].
            k: At least 1.
            number: The author's.
            exclude: Shape [q].
            digests: Shape [q].
            named: Rows that others found near, or -1; compared too. Shape [q, m].
        """
        similarity, rows = self.index.search(units, k + int(exclude.any()))
        if named is not None and len(self):
            named = without_doubles(rows, np.where(named < len(self), named, -1))
            found = compare(units, named, self.index.rows)
            rows = np.concatenate([rows, named], axis=1)
            similarity = np.concatenate([similarity, found], axis=1)
        none = rows < 0
        ids = (number << ROW_BITS) + self.first + rows
        if len(self):
            none |= exclude[:, None] & (self.digests[rows] == digests[:, None])
            near = Neighbours(ids, similarity, self.labels[rows])
        else:
            near = Neighbours(ids, similarity, rows.astype(np.int32))
        return near.without(none).nearest(k)


def without_doubles(rows: Ids, named: Ids) -> Ids:
    """``named`` with -1 for what is in ``rows`` or comes twice, in another order. Shape [q, m]."""
    ordered = np.sort(named, axis=1)
    double = np.zeros(ordered.shape, bool)
    double[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    double |= (ordered[:, :, None] == rows[:, None, :]).any(axis=2)
    return np.where(double, -1, ordered)


def grown(array: npt.NDArray[Scalar], length: int) -> npt.NDArray[Scalar]:
    """The array with room for ``length``, at least doubled where there is too little."""
    if length <= len(array):
        return array
    wide = np.empty(max(length, 2 * len(array)), array.dtype)
    wide[: len(array)] = array
    return wide
