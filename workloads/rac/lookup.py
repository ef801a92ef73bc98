"""Neighbours of queries that are asked for again and again."""

import numpy as np
import numpy.typing as npt

from workloads.rac.catalogue import Catalogue, Found
from workloads.rac.encoders import Floats
from workloads.recall.index import Ids

QUERIES_MAX = 512
"""Looked up at a time, to bound memory."""


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
        self._kept = Found(
            np.zeros((count, k), np.int64),
            np.zeros((count, k), np.float32),
            np.full((count, k), -1, np.int32),
            np.full((count, k), -1, np.int64),
            np.zeros((count, classes), np.float32),
        )

    def stale(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of the rows have to be looked up."""
        stale: npt.NDArray[np.int64] = rows[self._version[rows] != self._catalogue.version]
        return stale

    def look(self, rows: npt.NDArray[np.int64], own: Ids | None = None) -> Found:
        """Neighbours of some queries.

        Args:
            rows: Shape [q].
            own: Entries of all n queries, or -1; None: the queries are nobody's entries. [n].
        """
        for start in range(0, len(rows), QUERIES_MAX):
            part = self.stale(rows[start : start + QUERIES_MAX])
            if len(part):
                exclude = own[part] if own is not None else None
                found = self._catalogue.look(self._features[part], exclude)
                for name in Found.__dataclass_fields__:
                    getattr(self._kept, name)[part] = getattr(found, name)
                self._version[part] = self._catalogue.version
        kept = self._kept
        return Found(
            kept.texts[rows],
            kept.similarity[rows],
            kept.labels[rows],
            kept.authors[rows],
            kept.votes[rows],
        )
