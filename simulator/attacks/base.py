"""What all attacks share: an honest node to start from, and a scale that means something."""

import math

from node.errors import ConfigError
from node.jobs.honest import Honest


class Attack(Honest):
    """Honest in everything that an attack does not override.

    Args:
        scale: Strength, finite and at least 0; attacks without a strength ignore it.
        seed: Decides all randomness.

    Raises:
        ConfigError: no such scale.
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        if not (math.isfinite(scale) and scale >= 0):
            name = type(self).__name__
            raise ConfigError(
                f"the scale of the attack {name} is {scale}: choose a finite number of at least 0"
            )
        self.scale = scale
        self.seed = seed
