"""Nearest vectors by quantised codes: little memory, and exact comparison of the best."""

from pathlib import Path
from typing import Any

import numpy as np

from workloads.api import WorkloadError
from workloads.recall.index import Floats, Ids, load_faiss
from workloads.recall.key_file import KeyFile
from workloads.recall.vector_index import FlatVectors, IndexSettings, compare

TRAIN_ROWS = 16_384
"""Rows from which there are codes; with fewer, the search is exact."""
GROWTH = 4
"""The codebooks are trained anew whenever there are so many times the rows of the last time."""
SAMPLE_ROWS = 32_768
"""Rows that codebooks are trained on, evenly spaced."""
ITERATIONS = 10
"""Of k-means."""
CODE_BITS = 8
WIDE_ROWS = 8192
"""Rows that are widened to float32 at once."""


class CodedVectors:
    """An inverted file of product-quantised residuals, and the keys in a file.

    Main memory holds a code for each key; the keys themselves, as float16, lie in a file without a
    name, from which the best candidates are compared exactly. Training anew, at every 4-fold
    growth, encodes all keys again.

    Source: Jegou, Douze and Schmid 2011, "Product quantization for nearest neighbor search";
    faiss ``IndexIVFPQ``.

    Args:
        dimensions: Length of a key.
        settings: See ``IndexSettings``.
        folder: Of the file; None for that of temporary files.

    Raises:
        WorkloadError: The bytes of a code do not divide the dimensions, or faiss is missing.
    """

    def __init__(
        self, dimensions: int, settings: IndexSettings, folder: Path | None = None
    ) -> None:
        if settings.code_bytes < 1 or dimensions % settings.code_bytes:
            raise WorkloadError(f"code_bytes must divide the {dimensions} dimensions of a key")
        self._faiss = load_faiss()
        self._dimensions = dimensions
        self._settings = settings
        self._keys = KeyFile(dimensions, folder)
        self._few: FlatVectors | None = FlatVectors(dimensions, "fp16")
        self._codes: Any = None
        self._train_at = TRAIN_ROWS

    def add(self, keys: Floats) -> None:
        """Append keys of length 1. Shape [n, d]."""
        start = len(self._keys)
        self._keys.add(keys)
        if len(self._keys) >= self._train_at:
            self._train()
        elif self._few is not None:
            self._few.add(keys)
        else:
            self._codes.add(self._keys.rows(slice(start, len(self._keys))))

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """See ``VectorIndex.search``; a near key may be missed."""
        if self._few is not None:
            return self._few.search(queries, k)
        wanted = min(len(self._keys), k * max(1, self._settings.rerank))
        settings = self._faiss.SearchParametersIVF(nprobe=self._settings.probes)
        similarity, numbers = self._codes.search(queries, wanted, params=settings)
        if self._settings.rerank:
            return compare(queries, numbers, self.rows), numbers
        similarity[numbers < 0] = -np.inf
        return similarity, numbers

    def rows(self, numbers: Ids) -> Floats:
        """Keys as they are kept. Shape [..., d]."""
        return self._keys.rows(numbers)

    @property
    def bytes(self) -> int:
        """Main memory of codes, row numbers and centroids; the file's pages are the system's."""
        if self._few is not None:
            return self._few.bytes
        centroids = self._codes.nlist + (1 << CODE_BITS)
        codes = len(self._keys) * (self._settings.code_bytes + 8)
        return codes + 4 * int(centroids) * self._dimensions

    def _train(self) -> None:
        """New codebooks from a sample, and new codes of all keys."""
        count, metric = len(self._keys), self._faiss.METRIC_INNER_PRODUCT
        lists = 2 << round(np.log2(count) / 2)
        coarse = self._faiss.IndexFlatIP(self._dimensions)
        codes = self._faiss.IndexIVFPQ(
            coarse, self._dimensions, lists, self._settings.code_bytes, CODE_BITS, metric
        )
        codes.cp.niter = codes.pq.cp.niter = ITERATIONS
        codes.cp.spherical = True
        codes.cp.min_points_per_centroid = 1  # silences a warning; the samples are enough
        some = np.linspace(0, count - 1, min(count, SAMPLE_ROWS)).astype(np.int64)
        codes.train(self.rows(some))
        for start in range(0, count, WIDE_ROWS):
            codes.add(self._keys.rows(slice(start, min(count, start + WIDE_ROWS))))
        self._codes, self._few = codes, None
        self._train_at = GROWTH * count
