"""What every codec offers, and how they walk a vector in pieces that stay in cache.

All arithmetic is elementwise and correctly rounded, or on integers: a decoder gives the same bits
on every machine. Decoded vectors are finite and hold no subnormal and no negative zero.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from node.errors import Malformed
from node.ports import FloatVector

PIECE = 32 * 1024
"""Coordinates handled at once: three float32 buffers of it fit a 512 KiB second-level cache."""

Words = npt.NDArray[np.uint32]


class Codec(Protocol):
    """A vector <-> bytes of a length that only ``d`` decides. Peers write the bytes: hostile."""

    @property
    def name(self) -> str:
        """The name in the job manifest."""
        ...

    @property
    def align(self) -> int:
        """Block, in coordinates. A cut at a multiple of it changes no decoded value."""
        ...

    def encoded_bytes(self, d: int) -> int:
        """Exact size of an encoded vector of ``d`` coordinates."""
        ...

    def encode(self, x: FloatVector) -> bytes:
        """Bytes of ``x``. Never raises for nan, inf or huge values: ``decode`` refuses those.

        Args:
            x: Shape [d], float32, contiguous.
        """
        ...

    def decode(self, data: bytes | memoryview, d: int) -> FloatVector:
        """The vector, in a new buffer. Shape [d].

        Raises:
            Malformed: wrong length, a value or scale that is not finite or not in its range, or
                an encoding that the encoder would not have chosen for this vector.
        """
        ...

    def error_norm(self, data: bytes | memoryview, d: int, norm: float) -> float:
        """The longest that ``decode(data) - x`` can be for any x that is encoded as ``data``.

        Args:
            data: Bytes that ``decode`` accepts.
            d: Number of coordinates.
            norm: At least the length of the decoded vector.
        """
        ...


class Piece(NamedTuple):
    """A run of whole blocks, or the last short block alone."""

    start: int
    stop: int
    block: int
    """Index of the first block."""
    blocks: int


def pieces(d: int, block: int) -> Iterator[Piece]:
    """Cut ``d`` coordinates into runs of at most PIECE; ``block`` divides PIECE."""
    whole = d - d % block
    for start in range(0, whole, PIECE):
        stop = min(start + PIECE, whole)
        yield Piece(start, stop, start // block, (stop - start) // block)
    if whole < d:
        yield Piece(whole, d, whole // block, 1)


def power_of_two(exponent: npt.NDArray[np.int32]) -> FloatVector:
    """``2 ** exponent`` exactly, for exponents within [-126, 127]."""
    return ((exponent + np.int32(127)) << np.int32(23)).view(np.float32)


def byte_view(data: bytes | memoryview, size: int, codec: str) -> memoryview:
    """``data`` as plain bytes.

    Raises:
        Malformed: it has not ``size`` bytes.
    """
    view = memoryview(data)
    if view.nbytes != size:
        raise Malformed(f"{codec}: {view.nbytes} bytes where {size} are due")
    return view.cast("B")
