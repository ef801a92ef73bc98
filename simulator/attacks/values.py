"""Attacks on values: another update is encoded, committed and sent in place of the honest one.

The node stays within the protocol, so these are what screening and aggregation rules must bear.
"""

import numpy as np

from node.ports import FloatVector
from simulator.attacks.base import Attack

HUGE = np.float32(3e38)
"""Finite, but the sum of two is not."""


class sign_flip(Attack):
    """The update, reversed and ``scale`` times as long.

    Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), "sign flip", there at scale 1000.
    """

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """``-scale * update``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return update * np.float32(-self.scale)


class gaussian(Attack):
    """Noise with ``scale`` times the root mean square of the honest update.

    Source: Gonzalez et al. 2025, arXiv:2505.24802 (ByzFL), "Gaussian".
    """

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """Independent N(0, (scale * rms(update))^2) in each coordinate."""
        rng = np.random.default_rng([self.seed, round_])
        rms = float(np.sqrt(np.mean(np.square(update, dtype=np.float64))))
        with np.errstate(over="ignore"):
            noise = rng.standard_normal(update.shape) * (self.scale * rms)
            return noise.astype(np.float32)


class nan(Attack):
    """Not a number in every coordinate: poisons whatever averages without a check."""

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """All nan."""
        return np.full_like(update, np.nan)


class huge(Attack):
    """Finite values so large that sums, squares and means of them overflow."""

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """3e38 against the sign of the update, in every coordinate."""
        return np.copysign(HUGE, -update)


class zero(Attack):
    """Nothing: takes credit for no work, and slows a mean down."""

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """All zero."""
        return np.zeros_like(update)
