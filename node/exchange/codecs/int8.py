"""``int8``: blocks of 256 signed bytes, each block with the float32 scale max|x| / 127.

A block is null (scale 0, all zero) or reaches 127 in magnitude, so that halving the values while
doubling the scale is refused. A float32 scale costs 1.6 % of the bytes and wastes no step of the
127; a float16 one would need a range of its own.

Layout: ceil(d / 256) float32 scales, then d int8; all little-endian.
"""

import math
from dataclasses import dataclass

import numpy as np

from node.errors import Malformed
from node.exchange.codecs.base import PIECE, byte_view, pieces
from node.ports import FloatVector

BLOCK = 256
STEPS = 127
SCALE_MIN = np.float32(2.0**-126)
"""Least normal float32: value = q * scale is then normal or zero."""
SCALE_MAX = np.float32(2.0**121)
"""127 * 2^121 is below the largest float32."""


@dataclass(frozen=True)
class Int8:
    """Block-scaled signed bytes: 1.016 bytes a coordinate."""

    name: str = "int8"
    align: int = BLOCK

    def encoded_bytes(self, d: int) -> int:
        """One byte a coordinate and four a block."""
        return d + 4 * -(-d // BLOCK)

    def encode(self, x: FloatVector) -> bytes:
        """As in ``Codec``; ties are rounded to even."""
        d = len(x)
        raw = np.empty(self.encoded_bytes(d), np.uint8)
        scales = raw[: len(raw) - d].view("<f4")
        steps = raw[len(raw) - d :].view(np.int8)
        scratch = np.empty(PIECE, np.float32)
        with np.errstate(all="ignore"):
            for start, stop, block, blocks in pieces(d, BLOCK):
                y = scratch[: stop - start]
                y_BW = y.reshape(blocks, -1)
                bits = y.view(np.uint32)
                np.bitwise_and(x[start:stop].view(np.uint32), np.uint32(0x7FFFFFFF), out=bits)
                # Integers order magnitudes as floats do, and nan above all.
                top = y_BW.view(np.uint32).max(axis=1).view(np.float32)
                scale = top / np.float32(STEPS)
                scale[scale < SCALE_MIN] = 0
                inverse = np.divide(np.float32(STEPS), top)
                inverse[scale == 0] = 0
                scales[block : block + blocks] = scale
                np.multiply(x[start:stop].reshape(blocks, -1), inverse[:, None], out=y_BW)
                np.rint(y, out=y)
                np.copyto(steps[start:stop], y, casting="unsafe")
        return raw.tobytes()

    def decode(self, data: bytes | memoryview, d: int) -> FloatVector:
        """As in ``Codec``."""
        view = byte_view(data, self.encoded_bytes(d), self.name)
        scales = np.frombuffer(view[: len(view) - d], "<f4").astype(np.float32)
        steps = np.frombuffer(view[len(view) - d :], np.int8)
        # Compared as integers: nan, infinities, negatives and negative zero are above the range.
        bits = scales.view(np.uint32)
        least, most = SCALE_MIN.view(np.uint32), SCALE_MAX.view(np.uint32)
        if ((bits > most) | ((bits < least) & (bits != 0))).any():
            raise Malformed("int8: a block scale is not zero and not within its range")
        x = np.empty(d, np.float32)
        for start, stop, block, blocks in pieces(d, BLOCK):
            q_BW = steps[start:stop].reshape(blocks, -1)
            scale = scales[block : block + blocks]
            high, low = q_BW.max(axis=1), q_BW.min(axis=1)
            top = np.maximum(high.astype(np.int16), -low.astype(np.int16))
            if (top != STEPS * (scale != 0)).any():
                raise Malformed("int8: a block is not scaled to its largest value")
            x_BW = x[start:stop].reshape(blocks, -1)
            np.copyto(x_BW, q_BW)
            np.multiply(x_BW, scale[:, None], out=x_BW)
        return x

    def error_norm(self, data: bytes | memoryview, d: int, norm: float) -> float:
        """As in ``Codec``: half a step of each block, or a null block's largest value."""
        view = byte_view(data, self.encoded_bytes(d), self.name)
        scales = np.frombuffer(view[: len(view) - d], "<f4").astype(np.float64)
        steps = np.where(scales > 0, 0.5001 * scales, STEPS * float(SCALE_MIN))
        squares = (BLOCK * steps * steps).tolist()
        squares[-1] *= (d - BLOCK * (len(squares) - 1)) / BLOCK
        return math.sqrt(math.fsum(squares))
