"""Keys in a file without a name: as many as the disk holds, gone with the process."""

import tempfile
import weakref
from pathlib import Path

import numpy as np

from workloads.recall.index import Floats, Ids
from workloads.recall.widening import widened

ROWS_FIRST = 1024


class KeyFile:
    """Rows of float16, mapped into memory; pages that are not read cost none.

    Args:
        dimensions: Length of a key.
        folder: Of the file; None for that of temporary files.
    """

    def __init__(self, dimensions: int, folder: Path | None = None) -> None:
        self._dimensions = dimensions
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as the rows)
        weakref.finalize(self, self._file.close)
        self._keys = np.empty((0, dimensions), np.float16)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, keys: Floats) -> None:
        """Append keys. Shape [n, d]."""
        start, self._count = self._count, self._count + len(keys)
        if self._count > len(self._keys):
            self._enlarge()
        self._keys[start : self._count] = keys

    def rows(self, numbers: Ids | slice) -> Floats:
        """Keys as they are kept. Shape [..., d]."""
        return widened(self._keys[numbers])

    def _enlarge(self) -> None:
        """Twice the file: what is there stays."""
        rows = max(ROWS_FIRST, 2 * len(self._keys), self._count)
        self._file.truncate(rows * self._dimensions * 2)
        shape = (rows, self._dimensions)
        self._keys = np.memmap(self._file, np.float16, mode="r+", shape=shape)
