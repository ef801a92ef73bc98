"""Nearest keys: exactly, or by a proximity graph."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError

Keys = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class Index(Protocol):
    """Keys in the order in which they came, found again by squared L2 distance."""

    def add(self, key: Keys) -> None:
        """Append one key; its id is the number of keys before it. Shape [d]."""
        ...

    def search(self, query: Floats, distances: Floats, ids: Ids) -> None:
        """Write the nearest keys into the two arrays, nearest first.

        Args:
            query: Shape [d].
            distances: Squared distances; infinite where there are too few keys. Shape [k].
            ids: -1 where there are too few. Shape [k].
        """
        ...


class FlatIndex:
    """All distances are computed: exact, and slow beyond some thousand keys.

    Args:
        dimensions: Length of a key.
    """

    def __init__(self, dimensions: int) -> None:
        self._keys = np.empty((64, dimensions), np.float32)
        self._count = 0

    def add(self, key: Keys) -> None:
        """Append one key. Shape [d]."""
        if self._count == len(self._keys):
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
        self._keys[self._count] = key
        self._count += 1

    def search(self, query: Floats, distances: Floats, ids: Ids) -> None:
        """See ``Index.search``; keys of equal distance are in the order in which they came."""
        gaps = self._keys[: self._count] - query
        squares = np.einsum("nd,nd->n", gaps, gaps)
        nearest = np.argsort(squares, kind="stable")[: len(ids)]
        ids.fill(-1)
        distances.fill(np.inf)
        ids[: len(nearest)] = nearest
        distances[: len(nearest)] = squares[nearest]


class GraphIndex:
    """A hierarchical navigable small world graph: logarithmic, and nearly always right.

    The library's convenience layer costs more than the search itself, so its C++ methods are
    called with pointers to one query buffer. One thread.

    Source: Malkov and Yashunin 2018, arXiv:1603.09320; faiss ``IndexHNSWFlat``.

    Args:
        dimensions: Length of a key.
        links: Links of a node, M in the paper.
        breadth_add: Candidates kept while a node is linked, efConstruction in the paper.
        breadth: Candidates kept in a search, ef in the paper; never below the number wanted.

    Raises:
        WorkloadError: The extra that brings faiss is not installed.
    """

    def __init__(
        self, dimensions: int, *, links: int = 16, breadth_add: int = 100, breadth: int = 32
    ) -> None:
        faiss = load_faiss()
        self._index = faiss.IndexHNSWFlat(dimensions, links)
        self._index.hnsw.efConstruction = breadth_add
        self._settings = faiss.SearchParametersHNSW()
        self._breadth = breadth
        self._pointer: Callable[[Any], Any] = faiss.swig_ptr
        self._query = np.empty(dimensions, np.float32)
        self._query_pointer = self._pointer(self._query)
        self._distances, self._ids = self._query[:0], np.empty(0, np.int64)
        self._targets: tuple[Any, ...] = ()

    def add(self, key: Keys) -> None:
        """Append one key. Shape [d]."""
        self._query[:] = key
        self._index.add_c(1, self._query_pointer)

    def search(self, query: Floats, distances: Floats, ids: Ids) -> None:
        """See ``Index.search``; a near key may be missed."""
        if distances is not self._distances or ids is not self._ids:
            self._bind(distances, ids)
        self._query[:] = query
        self._index.search_c(1, self._query_pointer, *self._targets)

    def _bind(self, distances: Floats, ids: Ids) -> None:
        """Keep the pointers of two arrays that are asked for again and again."""
        self._distances, self._ids = distances, ids
        self._settings.efSearch = max(self._breadth, len(ids))
        self._targets = (
            len(ids),
            self._pointer(distances),
            self._pointer(ids),
            self._settings,
        )


def load_faiss() -> Any:
    """The faiss module, kept to one thread.

    Raises:
        WorkloadError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise WorkloadError(
            "the memory's index needs faiss: pip install 'artel-node[nait]'"
        ) from error
    faiss.omp_set_num_threads(1)
    return faiss
