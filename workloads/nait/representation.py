"""From observations to keys: a truncated cosine transform of the newest pictures, in int8."""

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Keys

Doubles = npt.NDArray[np.float64]

LEVEL_MAX = 127
"""Keys hold -127 to 127; what lies beyond is cut."""
GRID = 2.0**-14
"""Cosines are multiples of it. With whole grey levels every sum of the transform is then exact in
float64, in any order, so that all machines make the same keys and know each other's duplicates."""
SIDE = 84
"""Coefficients are scaled as if the picture were SIDE x SIDE pixels, so that units compare."""


class Encoder(Protocol):
    """Makes the part of a key that one observation gives."""

    @property
    def length(self) -> int:
        """Numbers in a part."""
        ...

    def set_reference(self, observation: npt.NDArray[Any]) -> None:
        """Say which observation lies at the origin; the same on every machine."""
        ...

    def encode(self, observation: npt.NDArray[Any]) -> Keys:
        """The part of an observation. Shape [length]."""
        ...


def cosines(coefficients: int, points: int) -> Doubles:
    """The lowest rows of the orthonormal DCT-II, in whole multiples of ``GRID``.

    Shape [coefficients, points].
    """
    frequency = np.arange(coefficients)[:, None]
    position = 2 * np.arange(points)[None] + 1
    rows = np.sqrt(2 / points) * np.cos(np.pi * position * frequency / (2 * points))
    rows[0] = np.sqrt(1 / points)
    lowest: Doubles = np.rint(rows / GRID) * GRID
    return lowest


class PictureEncoder:
    """F = C_h X C_w^T, its lowest m x m block, less that of a reference picture, rounded to int8.

    The transform is orthonormal, so distances of keys are distances of low-passed pictures
    (Parseval), times 84 / sqrt(h w): as if the picture had been scaled to 84 x 84. The reference,
    the game after a second, takes away what never changes, so that eight bits suffice.

    Source: the DCT is the paper's (arXiv:2203.03078); block, reference and quantisation are ours.

    Args:
        height: Of a picture, pixels.
        width: Of a picture, pixels.
        coefficients: m; fewer where the picture is smaller.
        unit: Grey levels of one int8 step.
    """

    def __init__(self, height: int, width: int, coefficients: int, unit: float) -> None:
        self._scale = SIDE / math.sqrt(height * width) / unit
        self._down = cosines(min(coefficients, height), height)
        self._across = np.ascontiguousarray(cosines(min(coefficients, width), width).T)
        self._grey = np.empty((height, width))
        self._reference = np.zeros((len(self._down), self._across.shape[1]))
        self.length = self._reference.size

    def set_reference(self, observation: npt.NDArray[Any]) -> None:
        """Take the picture that lies at the origin. Shape [h, w]."""
        self._reference = self._transform(observation)

    def encode(self, observation: npt.NDArray[Any]) -> Keys:
        """Coefficients of a grey picture of shape [h, w]. Shape [length]."""
        levels = np.rint((self._transform(observation) - self._reference) * self._scale)
        return _to_int8(levels.ravel())

    def _transform(self, observation: npt.NDArray[Any]) -> Doubles:
        self._grey[:] = observation
        coefficients: Doubles = self._down @ self._grey @ self._across
        return coefficients


class VectorEncoder:
    """Each component relative to its bound.

    Args:
        bounds: Values that become 127. Shape [length].
    """

    def __init__(self, bounds: npt.NDArray[np.float64]) -> None:
        self._scale = LEVEL_MAX / bounds
        self.length = len(bounds)

    def set_reference(self, observation: npt.NDArray[Any]) -> None:
        """Do nothing: the origin is zero."""

    def encode(self, observation: npt.NDArray[Any]) -> Keys:
        """Scaled, rounded and cut. Shape [length]."""
        return _to_int8(np.rint(observation * self._scale))


def _to_int8(levels: npt.NDArray[Any]) -> Keys:
    """Cut at ``LEVEL_MAX``; what is not a number becomes 0."""
    finite = np.nan_to_num(levels, posinf=LEVEL_MAX, neginf=-LEVEL_MAX)
    levels_8: Keys = np.clip(finite, -LEVEL_MAX, LEVEL_MAX).astype(np.int8)
    return levels_8


class Stack:
    """The newest observations' parts, one key.

    Args:
        encoder: Makes the parts.
        frames: Parts in a key.
    """

    def __init__(self, encoder: Encoder, frames: int) -> None:
        self._encoder = encoder
        self._parts = np.zeros((frames, encoder.length), np.int8)

    @property
    def dimensions(self) -> int:
        """Length of a key."""
        return self._parts.size

    def reset(self, observation: npt.NDArray[Any]) -> Keys:
        """The key of an episode's first observation, which stands for those before it too."""
        self._parts[:] = self._encoder.encode(observation)
        return self._parts.ravel().copy()

    def push(self, observation: npt.NDArray[Any]) -> Keys:
        """The key after one more observation. Shape [dimensions]."""
        self._parts[1:] = self._parts[:-1].copy()
        self._parts[0] = self._encoder.encode(observation)
        return self._parts.ravel().copy()
