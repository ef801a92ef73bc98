"""``fp16``: half-precision floats with one power-of-two exponent for each block.

The exponent puts the largest magnitude of a block into [2^14, 2^15), so that updates of any size
keep 11 significant bits over a range of 2^29 below the largest; smaller values become zero (error
feedback keeps them). Half-precision subnormals, negative zero, infinities, and blocks scaled
otherwise are refused, so a vector has one encoding. Conversion is by integer shifts: the half's
exponent field is the float32 one after a multiplication by 2^-112, four times as fast as a cast.

Layout: ceil(d / 4096) int16 exponents, then d float16; all little-endian.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.errors import Malformed
from node.exchange.codecs.base import PIECE, byte_view, pieces, power_of_two
from node.ports import FloatVector

BLOCK = 4096
EXPONENT_MIN = -112
"""2^-14, the least half, times 2^-112 is the least normal float32."""
EXPONENT_MAX = 113
_BIAS = 112
"""Difference of the exponent biases of float32 and float16."""
_TOP = 0x7800
_TOP_LEAST = 0x7400
"""2^15 and 2^14 as halves."""
_SIGN = np.uint32(0x8000)


@dataclass(frozen=True)
class Fp16:
    """Block-scaled halves: 2 bytes a coordinate and 2 a block."""

    name: str = "fp16"
    align: int = BLOCK

    def encoded_bytes(self, d: int) -> int:
        """Two bytes a coordinate and two a block."""
        return 2 * d + 2 * -(-d // BLOCK)

    def encode(self, x: FloatVector) -> bytes:
        """As in ``Codec``; ties are rounded away from zero."""
        d = len(x)
        raw = np.empty(self.encoded_bytes(d), np.uint8)
        exponents = raw[: len(raw) - 2 * d].view("<i2")
        halves = raw[len(raw) - 2 * d :].view("<u2")
        first, second = np.empty(PIECE, np.uint32), np.empty(PIECE, np.uint32)
        with np.errstate(all="ignore"):
            for start, stop, block, blocks in pieces(d, BLOCK):
                x_BW = x[start:stop].reshape(blocks, -1)
                a = first[: stop - start]
                b = second[: stop - start]
                np.bitwise_and(x[start:stop].view(np.uint32), np.uint32(0x7FFFFFFF), out=a)
                exponent = _block_exponents(a.reshape(blocks, -1).max(axis=1))
                exponents[block : block + blocks] = exponent
                _scale(x_BW, -_BIAS - exponent, b.view(np.float32).reshape(blocks, -1))
                np.add(b, np.uint32(0x1000), out=b)
                np.right_shift(b, np.uint32(13), out=a)
                np.right_shift(b, np.uint32(16), out=b)
                np.bitwise_and(b, _SIGN, out=b)
                np.bitwise_or(a, b, out=a)
                np.copyto(halves[start:stop], a, casting="unsafe")
                _flush(halves[start:stop], exponent, blocks)
        return raw.tobytes()

    def decode(self, data: bytes | memoryview, d: int) -> FloatVector:
        """As in ``Codec``."""
        view = byte_view(data, self.encoded_bytes(d), self.name)
        head = len(view) - 2 * d
        exponents = np.frombuffer(view[:head], "<i2").astype(np.int32)
        if d and (exponents.min() < EXPONENT_MIN or exponents.max() > EXPONENT_MAX):
            raise Malformed("fp16: a block exponent is out of range")
        halves = np.frombuffer(view[head:], "<u2")
        x = np.empty(d, np.float32)
        scratch = np.empty(PIECE, np.uint16)
        for start, stop, block, blocks in pieces(d, BLOCK):
            half = halves[start:stop]
            exponent = exponents[block : block + blocks]
            _check(half, exponent, blocks, scratch[: stop - start])
            out = x[start:stop].view(np.int32)
            np.copyto(out, half.view("<i2"))
            np.left_shift(out, np.int32(13), out=out)
            # The cast extended the sign over three bits that belong to the exponent.
            np.bitwise_and(out, np.int32(-0x70000001), out=out)
            x_BW = x[start:stop].reshape(blocks, -1)
            _scale(x_BW, exponent + np.int32(_BIAS), x_BW)
        return x

    def error_norm(self, data: bytes | memoryview, d: int, norm: float) -> float:
        """As in ``Codec``: half a unit of the last of 11 bits, and what is subnormal is lost."""
        # A block loses what is below 2^-28 of its largest value, 64 = sqrt(BLOCK) times in all.
        return (1.001 * 2.0**-11 + 2.0**-22) * norm + math.sqrt(d) * 2.0**-96


def _block_exponents(largest: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Exponents from the bit patterns of each block's largest magnitude; 0 for a null block."""
    # 0x1000 is half a unit of the half's last place: a magnitude that rounds up to the next power
    # of two carries into the exponent here as it will in the payload.
    exponent = ((largest + np.uint32(0x1000)) >> np.uint32(23)).astype(np.int32) - (126 + 15)
    exponent[exponent < EXPONENT_MIN] = 0
    clipped: npt.NDArray[np.int32] = np.minimum(exponent, np.int32(EXPONENT_MAX))
    return clipped


def _scale(x_BW: FloatVector, exponent: npt.NDArray[np.int32], out_BW: FloatVector) -> None:
    """Multiply each block by its power of two, in two exact steps where one cannot hold it."""
    near = np.clip(exponent, -126, 127)
    np.multiply(x_BW, power_of_two(near)[:, None], out=out_BW)
    if (far := exponent - near).any():
        np.multiply(out_BW, power_of_two(far)[:, None], out=out_BW)


def _flush(halves: npt.NDArray[np.uint16], exponent: npt.NDArray[np.int32], blocks: int) -> None:
    """Make half-precision subnormals, negative zeros and null blocks zero, in place."""
    small = np.bitwise_and(halves, np.uint16(0x7C00)) == 0
    if small.any():
        halves[small] = 0
    null = exponent == 0
    if null.any():
        # An exponent of 0 also belongs to blocks that are not null: those reach 2^14.
        half_BW = halves.reshape(blocks, -1)
        top = np.bitwise_and(half_BW, np.uint16(0x7FFF)).max(axis=1)
        half_BW[null & (top < _TOP_LEAST)] = 0


def _check(
    halves: npt.NDArray[np.uint16],
    exponent: npt.NDArray[np.int32],
    blocks: int,
    scratch: npt.NDArray[np.uint16],
) -> None:
    """Refuse what the encoder does not write."""
    magnitude = np.bitwise_and(halves, np.uint16(0x7FFF), out=scratch)
    top = magnitude.reshape(blocks, -1).max(axis=1)
    if (top >= _TOP).any():
        raise Malformed("fp16: a value is not finite or above its block's scale")
    if ((top < _TOP_LEAST) & ((top > 0) | (exponent != 0))).any():
        raise Malformed("fp16: a block is not scaled to its largest value")
    # Zero wraps to 65535, so that only subnormals stay below.
    np.subtract(magnitude, np.uint16(1), out=magnitude)
    if magnitude.min() < 0x3FF or halves.view("<i2").min() == -0x8000:
        raise Malformed("fp16: a subnormal or a negative zero")
