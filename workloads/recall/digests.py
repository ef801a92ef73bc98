"""Which row holds exactly this key: 16 bytes an entry."""

import hashlib

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int64]

RECENT_MAX = 4096
"""Digests that are looked up in a dictionary before they are sorted in among the others."""


def digest(keys: npt.NDArray[np.generic]) -> Digests:
    """What equal rows share: 8 bytes of BLAKE2b.

    Somebody who searches 2^32 keys finds two of his own that share it, and gains one entry less; to
    meet the key of another he must search 2^64. Shape [n].
    """
    rows = np.ascontiguousarray(keys)
    found = (hashlib.blake2b(row.data, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)


class DigestTable:
    """Rows by digest; rows are numbered as they come."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._rows = np.empty(0, np.int64)
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    @property
    def bytes(self) -> int:
        """Main memory, without the dictionary."""
        return self._sorted.nbytes + self._rows.nbytes

    def find(self, digests: Digests) -> Ids:
        """The row of every digest, -1 where it has none. Shape [n]."""
        rows = np.full(len(digests), -1, np.int64)
        if len(self._sorted):
            at = np.minimum(np.searchsorted(self._sorted, digests), len(self._sorted) - 1)
            known = self._sorted[at] == digests
            rows[known] = self._rows[at[known]]
        for place in np.flatnonzero(rows < 0).tolist():
            rows[place] = self._recent.get(int(digests[place]), -1)
        return rows

    def place(self, digests: Digests) -> tuple[Ids, Ids]:
        """The row of every digest, a new one where it has none yet.

        Returns:
            Rows, shape [n]; the places in ``digests`` that got new rows, in order, shape [m].
        """
        rows, fresh = self.find(digests), []
        for place in np.flatnonzero(rows < 0).tolist():
            value = int(digests[place])
            row = self._recent.get(value, -1)
            if row < 0:
                row = len(self)
                self._recent[value] = row
                fresh.append(place)
            rows[place] = row
        if len(self._recent) > RECENT_MAX:
            self._settle()
        return rows, np.array(fresh, np.int64)

    def _settle(self) -> None:
        """Sort the recent ones in."""
        values = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
        rows = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        values = np.concatenate([self._sorted, values])
        order = np.argsort(values, kind="stable")
        self._sorted = values[order]
        self._rows = np.concatenate([self._rows, rows])[order]
        self._recent = {}
