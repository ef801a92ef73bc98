"""Attacks on values: another update is encoded, committed and sent in place of the honest one.

The node stays within the protocol, so these are what screening and aggregation rules must bear.
"""

import numpy as np

from node.ports import FloatVector
from simulator.attacks.base import Attack

HUGE = np.float32(3e38)
"""Finite, but the sum of two is not."""
DENORMAL = np.float32(1e-40)
"""Below the smallest normal float32, 1.2e-38."""
BELOW = 2.0**-10
"""Size of a lie that hides in rounding, relative to the update."""


class sign_flip(Attack):
    """The update, reversed and ``scale`` times as long.

    Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), "sign flip", there at scale 1000.
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """``-scale * update``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return update * np.float32(-self.scale)


class gaussian(Attack):
    """Noise with ``scale`` times the root mean square of the honest update.

    Source: Gonzalez et al. 2025, arXiv:2505.24802 (ByzFL), "Gaussian".
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """Independent N(0, (scale * rms(update))^2) in each coordinate."""
        with np.errstate(over="ignore"):
            noise = self.rng(round_).standard_normal(update.shape) * (self.scale * rms(update))
            return noise.astype(np.float32)


class nan(Attack):
    """Not a number in every coordinate: poisons whatever averages without a check."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """All nan."""
        return np.full_like(update, np.nan)


class inf(Attack):
    """Infinite in every coordinate, against the sign of the update."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """All infinite."""
        return np.copysign(np.float32(np.inf), -update)


class huge(Attack):
    """Finite values so large that sums, squares and means of them overflow."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """3e38 against the sign of the update, in every coordinate."""
        return np.copysign(HUGE, -update)


class denormal(Attack):
    """Values that some machines flush to zero and others do not: splits states, slows sums."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """1e-40 against the sign of the update, in every coordinate."""
        return np.copysign(DENORMAL, -update)


class zero(Attack):
    """Nothing: takes credit for no work, and slows a mean down."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """All zero."""
        return np.zeros_like(update)


class below_tolerance(Attack):
    """An honest update with a consistent lie that an audit with a tolerance would let pass.

    Source: Arun et al. 2025, arXiv:2502.19405 (Verde), why tolerances leave room; ours in form.
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """``update + scale * 2^-10 * rms(update) * u``, ``u`` of fixed random signs."""
        signs = np.where(self.rng(0).random(update.shape) < 0.5, -1.0, 1.0)
        return (update + signs * (BELOW * self.scale * rms(update))).astype(np.float32)


def rms(update: FloatVector) -> float:
    """Root mean square of the coordinates."""
    return float(np.sqrt(np.mean(np.square(update, dtype=np.float64))))
