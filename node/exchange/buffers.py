"""Scratch memory that vector instructions like: whole cache lines."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from node.ports import FloatVector

LINE_BYTES = 64
"""A cache line, and the widest vector register."""


def lines_up(count: int, dtype: npt.DTypeLike) -> int:
    """The least number of elements, at least ``count``, that fills whole cache lines."""
    step = LINE_BYTES // np.dtype(dtype).itemsize
    return -(-count // step) * step


def scratch(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An uninitialised array whose rows begin cache lines.

    numpy aligns to 16 bytes, where every vector of 64 straddles two lines; OpenBLAS's kernels for
    small matrices then take twice as long (measured). Results have the same bits either way.
    """
    wide = lines_up(shape[-1], dtype)
    size = int(np.prod(shape[:-1], dtype=np.int64)) * wide * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE_BYTES, np.uint8)
    first = -raw.__array_interface__["data"][0] % LINE_BYTES
    rows: npt.NDArray[Any] = raw[first : first + size].view(dtype).reshape(*shape[:-1], wide)
    return rows[..., : shape[-1]]


def as_matrix(rows: Sequence[FloatVector]) -> FloatVector | None:
    """The rows as one matrix [M, D] without a copy; None where memory does not allow it.

    Rows of one array do, and vectors that happen to lie at equal distances. The matrix is to be
    read only, and only as long as the rows are kept.
    """
    places = [row.__array_interface__["data"][0] for row in rows]
    steps = {after - before for before, after in pairwise(places)}
    alike = {(row.shape, row.strides, row.dtype) for row in rows}
    if len(steps) != 1 or len(alike) != 1:
        return None
    strides = (steps.pop(), *rows[0].strides)
    return as_strided(rows[0], (len(rows), len(rows[0])), strides, writeable=False)
