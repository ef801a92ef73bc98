"""Neighbours of queries that are asked for again and again."""

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from workloads.rac.catalogue import Catalogue, Found
from workloads.rac.encoders import Floats
from workloads.recall.index import Ids

QUERIES_MAX = 512
"""Looked up at a time, to bound memory."""
GROWTH = 1.25
"""Of the memory, after which other nodes are asked again."""


class Lookup:
    """Neighbours of a fixed list of queries, found when asked for and kept while they hold.

    Args:
        catalogue: What is looked into.
        features: Of unit length, or not yet known. Shape [n, d].
        classes: C.
    """

    def __init__(self, catalogue: Catalogue, features: Floats, classes: int) -> None:
        k = catalogue.neighbours
        count = len(features)
        self._catalogue = catalogue
        self._features = features
        self._version = np.full(count, -1, np.int64)
        self._seen = -1
        """Version of the catalogue at the last look."""
        self._kept = Found(
            np.zeros((count, k), np.int64),
            np.zeros((count, k), np.float32),
            np.full((count, k), -1, np.int32),
            np.full((count, k), -1, np.int64),
            np.zeros((count, classes), np.float32),
        )
        self._named: Ids | None = None
        """What other nodes named as near, or -1. Shape [n, m]."""
        self._asked_at = np.zeros(count, np.int64)
        """Size of the memory when they were asked."""

    def unasked(self, known: int, size: int) -> npt.NDArray[np.int64]:
        """Which of the first queries to ask other nodes about, in a memory of a size."""
        return np.flatnonzero(size > GROWTH * self._asked_at[:known])

    @property
    def answered(self) -> float:
        """Share of the queries about which other nodes were asked."""
        return float((self._asked_at > 0).mean())

    def tell(self, rows: npt.NDArray[np.int64], named: Ids, size: int) -> None:
        """Remember what other nodes named for some queries, in a memory of a size. [q, m]."""
        known = self._named if self._named is not None else np.empty((len(self._version), 0), int)
        wider = max(0, named.shape[1] - known.shape[1])
        self._named = np.pad(known, ((0, 0), (0, wider)), constant_values=-1)
        self._named[rows, : named.shape[1]] = named
        self._asked_at[rows] = size
        self._version[rows] = -1

    def due(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What to look up before some rows are read: those of them that do not hold any more.

        While the catalogue stays as it is, others that do not hold go with them: a search of many
        costs little more than one of few.
        """
        stale = self._stale(np.unique(rows))
        if len(stale) and self._seen == self._catalogue.version:
            ahead = np.setdiff1d(self._stale(np.arange(len(self._version))), stale)
            stale = np.concatenate([stale, ahead[: max(0, QUERIES_MAX - len(stale))]])
        self._seen = self._catalogue.version
        return stale

    def _stale(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        stale: npt.NDArray[np.int64] = rows[self._version[rows] != self._catalogue.version]
        return stale

    def look(
        self, rows: npt.NDArray[np.int64], due: npt.NDArray[np.int64], own: Ids | None = None
    ) -> Found:
        """Neighbours of some queries.

        Args:
            rows: Shape [q].
            due: What ``due`` said of them.
            own: Entries of all n queries, or -1; None: the queries are nobody's entries. [n].
        """
        for start in range(0, len(due), QUERIES_MAX):
            part = due[start : start + QUERIES_MAX]
            exclude = own[part] if own is not None else None
            named = self._named[part] if self._named is not None else None
            found = self._catalogue.look(self._features[part], exclude, named)
            for field in fields(Found):
                getattr(self._kept, field.name)[part] = getattr(found, field.name)
            self._version[part] = self._catalogue.version
        kept = self._kept
        return Found(
            kept.texts[rows],
            kept.similarity[rows],
            kept.labels[rows],
            kept.authors[rows],
            kept.votes[rows],
        )
