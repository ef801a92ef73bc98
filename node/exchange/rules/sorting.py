"""Rows sorted at each coordinate, chunk of columns by chunk, in whichever way is faster.

A network compares whole lines of columns, so its work grows by log^2 of the rows and goes through
the second cache. With many rows it is faster to turn a tile of columns, so that the values of one
coordinate lie side by side, and to let numpy sort them in vector registers (AVX2 or AVX-512;
without either it takes six times as long as the network). Both give the same values, which sorting
defines, but for the signs of zeros.

Shapes: M rows, D coordinates.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from node.exchange.buffers import LINE_BYTES, as_matrix, lines_up, scratch
from node.exchange.rules.network import CHUNK, network_chunks
from node.ports import FloatVector

WIRES_MAX = 48
"""Most rows for a network (measured: here both take equally long where rows must be copied)."""
LANES = 512
"""Columns of one tile."""


def sorted_chunks(
    rows: Sequence[FloatVector], first: int, stop: int
) -> Iterator[tuple[slice, list[FloatVector]]]:
    """For each chunk of columns its place and, ascending, the sorted rows ``first`` to ``stop``.

    The rows yielded are scratch buffers: the caller may write to them, the next chunk does.

    Args:
        rows: M vectors of shape [D], float32, without nan.
        first: Least rank wanted, from 0.
        stop: One above the greatest, at most M.
    """
    way = network_chunks if len(rows) <= WIRES_MAX else lane_chunks
    return way(rows, first, stop)


def lane_chunks(
    rows: Sequence[FloatVector], first: int, stop: int
) -> Iterator[tuple[slice, list[FloatVector]]]:
    """``sorted_chunks`` by tiles, in each of which all values of a coordinate lie side by side."""
    m, d = len(rows), len(rows[0])
    matrix = as_matrix(rows)
    lanes = scratch((min(LANES, d), _odd_lines(m)), np.float32)[:, :m]
    lines = scratch((m, _odd_lines(min(CHUNK, d))), np.float32)
    for start in range(0, d, CHUNK):
        at = slice(start, min(start + CHUNK, d))
        source = lines if matrix is None else matrix[:, at]
        if matrix is None:
            for line, row in zip(lines, rows, strict=True):
                np.copyto(line[: at.stop - start], row[at])
        for left in range(0, at.stop - start, LANES):
            columns = slice(left, min(left + LANES, at.stop - start))
            tile = lanes[: columns.stop - left]
            np.copyto(tile, source[:, columns].T)
            tile.sort(axis=1)
            # Over columns that have been read.
            np.copyto(lines[first:stop, columns], tile[:, first:stop].T)
        yield at, list(lines[first:stop, : at.stop - start])


def _odd_lines(m: int) -> int:
    """So many values fill an odd number of cache lines: neighbours then differ in their sets."""
    each = LINE_BYTES // np.dtype(np.float32).itemsize
    whole = lines_up(m, np.float32)
    return whole if whole // each % 2 else whole + each
