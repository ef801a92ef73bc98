"""Labelled vectors by author: a memory that grows, and from which an author can be taken out."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.recall.digests import Digests
from workloads.recall.index import Floats, Ids
from workloads.recall.memory import AUTHORS_MAX
from workloads.recall.neighbours import ROW_BITS, Labels, Neighbours, merge
from workloads.recall.part_vectors import Keep
from workloads.recall.shelf import Mask, Shelf, make_index
from workloads.recall.vector_index import IndexSettings

DIMENSIONS_MAX = 4096
LABELS_MAX = 1 << 16
"""Labels are below it."""
ENTRIES_MAX = 1 << 24
"""Of one author."""
NEIGHBOURS_MAX = 1024
LENGTH_MIN = 1e-6
"""A key that is shorter has no direction."""
OWN = ""
"""Name of oneself as an author, number 0."""


class VectorMemory:
    """Entries of several authors, each a unit vector with a label, found again by cosine.

    Every author has an index of its own: however many entries one of them piles up next to a key,
    those of the others are found all the same, and an author taken out leaves nothing behind. A
    key that its author gave before is the same entry with the newest label. One thread; the same
    calls give the same answers.

    Args:
        dimensions: Length of a key, 1 to ``DIMENSIONS_MAX``.
        settings: How each author's index is built.
        author_entries_max: Entries taken from one author.
        keep: Which entries of others are indexed; None: all.

    Raises:
        WorkloadError: A number is out of range, or the extra that brings faiss is not installed.
    """

    def __init__(
        self,
        dimensions: int,
        settings: IndexSettings | None = None,
        *,
        author_entries_max: int = 1_000_000,
        keep: Keep | None = None,
    ) -> None:
        if not 1 <= dimensions <= DIMENSIONS_MAX:
            raise WorkloadError(f"keys have 1 to {DIMENSIONS_MAX} dimensions, not {dimensions}")
        if not 1 <= author_entries_max <= ENTRIES_MAX:
            raise WorkloadError(f"an author has 1 to {ENTRIES_MAX} entries at most")
        self._dimensions = dimensions
        self._settings = settings or IndexSettings()
        self._entries_max = author_entries_max
        self._keep = keep
        self._shelves = [Shelf(0, make_index(dimensions, self._settings))]
        self._numbers = {OWN: 0}

    # What there is -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(shelf) for shelf in self._shelves)

    @property
    def authors(self) -> Mapping[str, int]:
        """Numbers by name, oneself included; a number is kept when its author is removed."""
        return self._numbers

    @property
    def dimensions(self) -> int:
        """Length of a key."""
        return self._dimensions

    def entries(self, author: str) -> int:
        """How many an author has."""
        number = self._numbers.get(author)
        return 0 if number is None else len(self._shelves[number])

    @property
    def bytes(self) -> int:
        """Main memory of all indexes, labels and digests."""
        return sum(shelf.bytes for shelf in self._shelves)

    # Writing -----------------------------------------------------------------------------------

    def add(self, author: str, keys: npt.NDArray[np.floating], labels: npt.ArrayLike) -> Ids:
        """Take entries in.

        Args:
            author: Peer id, or ``OWN``.
            keys: Of any length but 0. Shape [n, d].
            labels: From 0, below ``LABELS_MAX``. Shape [n].

        Returns:
            Shape [n].

        Raises:
            WorkloadError: The arrays do not fit, or a limit is passed; nothing is taken then.
        """
        units, classes = self._checked(keys, "keys"), np.asarray(labels)
        if classes.shape != (len(units),) or not np.issubdtype(classes.dtype, np.integer):
            raise WorkloadError(f"{len(units)} keys need as many whole labels")
        if len(classes) and not 0 <= classes.min() <= classes.max() < LABELS_MAX:
            raise WorkloadError(f"labels are from 0 and below {LABELS_MAX}")
        if self.entries(author) + len(units) > self._entries_max:
            raise WorkloadError(f"an author has at most {self._entries_max} entries here")
        number = self._number(author)
        shelf = self._shelves[number]
        return (number << ROW_BITS) + shelf.first + shelf.add(units, classes.astype(np.int32))

    def remove(self, author: str) -> int:
        """Take all entries of an author out; how many. Their ids are never given again."""
        number = self._numbers.get(author)
        if number is None:
            return 0
        gone = self._shelves[number]
        fresh = make_index(self._dimensions, self._settings, self._keep if number else None)
        self._shelves[number] = Shelf(gone.first + len(gone), fresh)
        return len(gone)

    # Reading -----------------------------------------------------------------------------------

    def search(
        self, queries: npt.NDArray[np.floating], k: int, exclude_ids: Ids | None = None
    ) -> Neighbours:
        """The k nearest entries of all authors; see ``search_authors``. Shape [q, k]."""
        return merge(self.search_authors(queries, k, exclude_ids), k)

    def search_authors(
        self,
        queries: npt.NDArray[np.floating],
        k: int,
        exclude_ids: Ids | None = None,
        *,
        copies: bool = True,
        named: Ids | None = None,
    ) -> Neighbours:
        """The k nearest entries of every author, by its number.

        Args:
            queries: Of any length but 0. Shape [q, d].
            k: 1 to ``NEIGHBOURS_MAX``.
            exclude_ids: The query's own entry, which must be there, or -1. Shape [q].
            copies: Exclude entries of other authors under exactly the same key, too.
            named: Ids of entries that are compared besides those that the indexes find, or -1.
                Shape [q, m].

        Returns:
            Shape [s, q, k].

        Raises:
            WorkloadError: The arrays do not fit, or there is no such entry.
        """
        units = self._checked(queries, "queries")
        if not 1 <= k <= NEIGHBOURS_MAX:
            raise WorkloadError(f"1 to {NEIGHBOURS_MAX} neighbours can be asked for, not {k}")
        excluded = np.full(len(units), -1) if exclude_ids is None else np.asarray(exclude_ids)
        if excluded.shape != (len(units),):
            raise WorkloadError("give one id to exclude for each query, -1 for none")
        digests = np.zeros(len(units), np.uint64)
        if (excluded >= 0).any():
            digests[excluded >= 0] = self.digests(excluded[excluded >= 0])
        lists = []
        for number, shelf in enumerate(self._shelves):
            at = (excluded >= 0) & (copies | (excluded >> ROW_BITS == number))
            others = None if named is None else self._rows_of(number, named)
            lists.append(shelf.search(units, k, number, at, digests, others))
        return Neighbours(
            np.stack([near.ids for near in lists]),
            np.stack([near.similarity for near in lists]),
            np.stack([near.labels for near in lists]),
        )

    def keys(self, ids: Ids) -> Floats:
        """Unit keys as they are kept. Shape [n, d].

        Raises:
            WorkloadError: There is no such entry.
        """
        keys = np.empty((len(ids), self._dimensions), np.float32)
        for number, at, rows in self._rows(ids):
            keys[at] = self._shelves[number].index.rows(rows)
        return keys

    def digests(self, ids: Ids) -> Digests:
        """Of the keys of entries. Shape [n].

        Raises:
            WorkloadError: There is no such entry.
        """
        digests = np.empty(len(ids), np.uint64)
        for number, at, rows in self._rows(ids):
            digests[at] = self._shelves[number].digests[rows]
        return digests

    def find(self, author: str, digests: Digests) -> Ids:
        """Ids of the entries of an author under keys of these digests, or -1. Shape as given."""
        number = self._numbers.get(author)
        if number is None:
            return np.full(digests.shape, -1, np.int64)
        places = self._shelves[number].find(digests)
        return np.where(places < 0, -1, (number << ROW_BITS) + places)

    def labels(self, ids: Ids) -> Labels:
        """Labels of entries. Shape [n].

        Raises:
            WorkloadError: There is no such entry.
        """
        labels = np.empty(len(ids), np.int32)
        for number, at, rows in self._rows(ids):
            labels[at] = self._shelves[number].labels[rows]
        return labels

    def ids(self, author: str) -> Ids:
        """Of all entries of an author. Shape [n]."""
        number = self._numbers.get(author)
        if number is None:
            return np.empty(0, np.int64)
        shelf = self._shelves[number]
        return (number << ROW_BITS) + shelf.first + np.arange(len(shelf))

    # Inside ------------------------------------------------------------------------------------

    def _rows_of(self, number: int, ids: Ids) -> Ids:
        """Rows of the entries that are of one author, -1 for others and for those gone."""
        rows = (ids & ((1 << ROW_BITS) - 1)) - self._shelves[number].first
        return np.where((ids < 0) | (ids >> ROW_BITS != number) | (rows < 0), -1, rows)

    def _rows(self, ids: Ids) -> list[tuple[int, Mask, Ids]]:
        """Entries by shelf: its number, which of the ids are there, and their rows."""
        numbers, found = np.asarray(ids) >> ROW_BITS, []
        for number in np.unique(numbers).tolist():
            at = numbers == number
            if not 0 <= number < len(self._shelves):
                raise WorkloadError("there is no entry with such an id")
            shelf = self._shelves[number]
            rows = (ids[at] & ((1 << ROW_BITS) - 1)) - shelf.first
            if rows.min() < 0 or rows.max() >= len(shelf):
                raise WorkloadError("an entry with such an id is not there any more")
            found.append((number, at, rows))
        return found

    def _number(self, author: str) -> int:
        number = self._numbers.get(author)
        if number is None:
            number = len(self._shelves)
            if number >= AUTHORS_MAX:
                raise WorkloadError(f"a memory holds at most {AUTHORS_MAX} authors")
            self._shelves.append(Shelf(0, make_index(self._dimensions, self._settings, self._keep)))
            self._numbers[author] = number
        return number

    def _checked(self, keys: npt.NDArray[np.floating], what: str) -> Floats:
        """Keys of length 1, float32 and contiguous. Shape [n, d]."""
        if keys.ndim != 2 or keys.shape[1] != self._dimensions:
            raise WorkloadError(f"{what} of shape {keys.shape}, not [n, {self._dimensions}]")
        wide = np.ascontiguousarray(keys, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            # In float64, so that the units, and their digests, are the same on every machine.
            squares = np.einsum("nd,nd->n", wide, wide, dtype=np.float64)
            lengths = np.sqrt(squares).astype(np.float32)[:, None]
        if not (np.isfinite(lengths) & (lengths >= LENGTH_MIN)).all():
            raise WorkloadError(f"{what} must be finite and not zero")
        units: Floats = wide / lengths
        return units
