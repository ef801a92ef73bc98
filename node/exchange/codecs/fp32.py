"""``fp32``: little-endian float32, uncompressed."""

import math
from dataclasses import dataclass

import numpy as np

from node.errors import Malformed
from node.exchange.codecs.base import PIECE, Words, byte_view, pieces
from node.ports import FloatVector

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITE = 0x7F800000
_SMALLEST_NORMAL = 0x00800000


@dataclass(frozen=True)
class Fp32:
    """Raw floats. Layout: d float32. Subnormals and negative zero count as zero."""

    name: str = "fp32"
    align: int = 1

    def encoded_bytes(self, d: int) -> int:
        """Four bytes a coordinate."""
        return 4 * d

    def encode(self, x: FloatVector) -> bytes:
        """As in ``Codec``."""
        words = np.array(x, dtype="<f4").view("<u4")
        _flush(words, refuse=False)
        return words.tobytes()

    def decode(self, data: bytes | memoryview, d: int) -> FloatVector:
        """As in ``Codec``. Subnormals are accepted and become zero."""
        view = byte_view(data, self.encoded_bytes(d), self.name)
        words = np.frombuffer(view, dtype="<u4").astype(np.uint32)
        _flush(words, refuse=True)
        return words.view(np.float32)

    def error_norm(self, data: bytes | memoryview, d: int, norm: float) -> float:
        """As in ``Codec``: what is subnormal is lost."""
        return math.sqrt(d) * 2.0**-126


def _flush(words: Words, *, refuse: bool) -> None:
    """Make subnormals and negative zeros zero, in place, on integers: no FPU mode matters."""
    magnitude = np.empty(PIECE, np.uint32)
    for piece in pieces(len(words), 1):
        part = words[piece.start : piece.stop]
        size = np.bitwise_and(part, _MAGNITUDE, out=magnitude[: len(part)])
        if refuse and size.max() >= _INFINITE:
            raise Malformed("fp32: a value is not finite")
        if size.min() < _SMALLEST_NORMAL:
            part[size < _SMALLEST_NORMAL] = 0
