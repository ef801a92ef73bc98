"""Nearest vectors by cosine: exactly, by a proximity graph, or by quantised codes.

Keys have length 1, so that the inner product is the cosine. Each index keeps its keys once, in the
storage that it was told, and every similarity that it answers is computed anew from them by one
routine: it depends neither on the other queries of the call nor on how the entry was found.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats, Ids, load_faiss
from workloads.recall.widening import widen_into, widened

Kind = Literal["flat", "graph", "codes"]
Storage = Literal["fp16", "fp32"]
Rows = npt.NDArray[np.float16] | npt.NDArray[np.float32]

BLOCK_ROWS = 8192
"""Rows that are widened to float32 at once in an exact search of many queries."""
SCAN_QUERIES_MAX = 6
"""Up to so many queries a scan of fp16 rows is faster than a product of widened blocks."""
SLACK = 8
"""Candidates more than wanted, so that rounding in the first pass loses none of the k."""
RERANK_BYTES_MAX = 2 << 20
"""Of candidates that are compared exactly at once: more would be fetched from the system anew each
time, which took three times as long."""


@dataclass(frozen=True)
class IndexSettings:
    """How an index is built; what does not belong to its kind is not read."""

    kind: Kind = "flat"
    storage: Storage = "fp16"
    links: int = 16
    """Graph: links of a node, M in the paper."""
    breadth_add: int = 80
    """Graph: candidates kept while a node is linked, efConstruction in the paper."""
    breadth: int = 96
    """Graph: candidates kept in a search, ef in the paper; never below the number wanted."""
    code_bytes: int = 160
    """Codes: bytes of a code; must divide the dimensions."""
    probes: int = 32
    """Codes: lists that a search reads."""
    rerank: int = 8
    """Codes: so many times the number wanted is compared exactly; 0 trusts the codes."""


class VectorIndex(Protocol):
    """Unit vectors in the order in which they came."""

    def add(self, keys: Floats) -> None:
        """Append keys of length 1. Shape [n, d]."""
        ...

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """Similarities and row numbers in no order, -inf and -1 where there are too few.

        Args:
            queries: Of length 1. Shape [q, d].
            k: At least 1.

        Returns:
            At least k columns if there are so many rows. Shapes [q, n].
        """
        ...

    def rows(self, numbers: Ids) -> Floats:
        """Keys as they are kept. Shape [..., d]."""
        ...

    @property
    def bytes(self) -> int:
        """Main memory that keys and structure take."""
        ...


class FlatVectors:
    """Compares a query with every key: exact."""

    def __init__(self, dimensions: int, storage: Storage) -> None:
        self._faiss = load_faiss()
        self._dimensions = dimensions
        self._type: type[np.float16 | np.float32] = np.float16 if storage == "fp16" else np.float32
        self._index = self._make()

    def _make(self) -> Any:
        metric = self._faiss.METRIC_INNER_PRODUCT
        if self._type is np.float32:
            return self._faiss.IndexFlat(self._dimensions, metric)
        half = self._faiss.ScalarQuantizer.QT_fp16
        return self._faiss.IndexScalarQuantizer(self._dimensions, half, metric)

    def add(self, keys: Floats) -> None:
        """Append keys. Shape [n, d]."""
        # faiss cuts digits off where numpy rounds, so it gets what is representable
        self._index.add(keys.astype(self._type).astype(np.float32))

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """See ``VectorIndex.search``."""
        wanted = min(k + SLACK, self._index.ntotal)
        if wanted == 0:
            return missing(len(queries))
        if len(queries) <= SCAN_QUERIES_MAX or self._type is np.float32:
            _, numbers = self._index.search(queries, wanted)
        else:
            numbers = self._search_blocks(queries, wanted)
        return compare(queries, numbers, self.rows), numbers

    def _search_blocks(self, queries: Floats, wanted: int) -> Ids:
        kept = stored(self._faiss, self._index, self._type)
        wide = np.empty((BLOCK_ROWS, self._dimensions), np.float32)
        best = np.full((len(queries), 0), -np.inf, np.float32)
        numbers = np.full((len(queries), 0), -1, np.int64)
        for start in range(0, len(kept), BLOCK_ROWS):
            block = kept[start : start + BLOCK_ROWS]
            widen_into(wide[: len(block)], block)
            products = queries @ wide[: len(block)].T
            top = last(products, wanted)
            numbers = np.concatenate([numbers, top + start], axis=1)
            best = np.concatenate([best, np.take_along_axis(products, top, axis=1)], axis=1)
            top = last(best, wanted)
            numbers = np.take_along_axis(numbers, top, axis=1)
            best = np.take_along_axis(best, top, axis=1)
        return numbers

    def rows(self, numbers: Ids) -> Floats:
        """Keys as they are kept. Shape [..., d]."""
        return widened(stored(self._faiss, self._index, self._type)[numbers])

    @property
    def bytes(self) -> int:
        """Main memory that keys and structure take."""
        return int(self._index.ntotal) * self._dimensions * np.dtype(self._type).itemsize


class GraphVectors(FlatVectors):
    """A hierarchical navigable small world graph: logarithmic, and nearly always right.

    Source: Malkov and Yashunin 2018, arXiv:1603.09320; faiss ``IndexHNSWSQ``.
    """

    def __init__(self, dimensions: int, settings: IndexSettings) -> None:
        self._settings = settings
        super().__init__(dimensions, settings.storage)

    def _make(self) -> Any:
        metric, links = self._faiss.METRIC_INNER_PRODUCT, self._settings.links
        if self._type is np.float32:
            index = self._faiss.IndexHNSWFlat(self._dimensions, links, metric)
        else:
            half = self._faiss.ScalarQuantizer.QT_fp16
            index = self._faiss.IndexHNSWSQ(self._dimensions, half, links, metric)
        index.hnsw.efConstruction = self._settings.breadth_add
        return index

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """See ``VectorIndex.search``; a near key may be missed."""
        wanted = min(k, self._index.ntotal)
        if wanted == 0:
            return missing(len(queries))
        breadth = max(self._settings.breadth, wanted)
        settings = self._faiss.SearchParametersHNSW(efSearch=breadth)
        _, numbers = self._index.search(queries, wanted, params=settings)
        return compare(queries, numbers, self.rows), numbers

    def rows(self, numbers: Ids) -> Floats:
        """Keys as they are kept. Shape [..., d]."""
        storage = self._faiss.downcast_index(self._index.storage)
        return widened(stored(self._faiss, storage, self._type)[numbers])

    @property
    def bytes(self) -> int:
        """Main memory that keys and structure take."""
        hnsw = self._index.hnsw
        links = 4 * hnsw.neighbors.size() + 8 * hnsw.offsets.size() + 4 * hnsw.levels.size()
        return super().bytes + int(links)


def stored(faiss: Any, index: Any, kind: type[np.float16 | np.float32]) -> Rows:
    """The keys of a flat faiss index where they lie, until the next ``add``. Shape [n, d]."""
    rows = int(index.ntotal)
    size = rows * index.d * np.dtype(kind).itemsize
    raw: npt.NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), size)
    kept: npt.NDArray[Any] = raw.view(kind)
    return kept.reshape(rows, index.d)


def compare(queries: Floats, numbers: Ids, rows: Any) -> Floats:
    """Cosines of each query and its candidates; -inf where the number is -1.

    Args:
        queries: Shape [q, d].
        numbers: Shape [q, n].
        rows: Gives float32 keys by number.
    """
    similarity = np.full(numbers.shape, -np.inf, np.float32)
    each = 1 + RERANK_BYTES_MAX // (4 * queries.shape[1] * max(1, numbers.shape[1]))
    for start in range(0, len(queries), each):
        part = slice(start, start + each)
        similarity[part] = np.einsum("qnd,qd->qn", rows(numbers[part]), queries[part])
    similarity[numbers < 0] = -np.inf
    return similarity


def last(scores: Floats, wanted: int) -> Ids:
    """Columns of the largest scores of each row, in no order. Shape [q, min(wanted, n)]."""
    columns = scores.shape[1]
    if columns <= wanted:
        return np.broadcast_to(np.arange(columns), scores.shape)
    return np.argpartition(scores, columns - wanted, axis=1)[:, columns - wanted :]


def missing(queries: int) -> tuple[Floats, Ids]:
    """The answer of an empty index."""
    return np.empty((queries, 0), np.float32), np.empty((queries, 0), np.int64)
