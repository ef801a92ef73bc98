"""All keys of an author in a file, and an index of some of them in main memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.recall.digests import Digests, digest
from workloads.recall.index import Floats, Ids
from workloads.recall.key_file import KeyFile
from workloads.recall.vector_index import VectorIndex

Keep = Callable[[Digests], npt.NDArray[np.bool_]]
"""Which keys are indexed, by their digests."""


class PartVectors:
    """A ``VectorIndex`` that finds only the keys that it keeps, and gives any by its number.

    Args:
        inner: Empty; indexes what is kept.
        dimensions: Length of a key.
        keep: See ``Keep``; always the same for a key.
        folder: Of the file; None for that of temporary files.
    """

    def __init__(
        self, inner: VectorIndex, dimensions: int, keep: Keep, folder: Path | None = None
    ) -> None:
        self._inner = inner
        self._keep = keep
        self._file = KeyFile(dimensions, folder)
        self._numbers = np.empty(0, np.int64)

    def add(self, keys: Floats) -> None:
        """Append keys of length 1. Shape [n, d]."""
        at = np.flatnonzero(self._keep(digest(keys)))
        self._numbers = np.concatenate([self._numbers, len(self._file) + at])
        self._file.add(keys)
        if len(at):
            self._inner.add(keys[at])

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """Of the keys that are kept; see ``VectorIndex.search``."""
        similarity, numbers = self._inner.search(queries, k)
        if not len(self._numbers):
            return similarity, numbers
        return similarity, np.where(numbers < 0, -1, self._numbers[numbers])

    def rows(self, numbers: Ids) -> Floats:
        """Keys as they are in the file. Shape [..., d]."""
        return self._file.rows(numbers)

    @property
    def bytes(self) -> int:
        """Main memory of the index; the file's pages are the system's."""
        return self._inner.bytes + self._numbers.nbytes
