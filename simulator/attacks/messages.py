"""Attacks on messages: an honest update, but what leaves for the peers is not it."""

from collections.abc import Sequence

import numpy as np

from simulator.attacks.base import Attack


class garbage(Attack):
    """Sends random bytes in place of the parts that it committed to."""

    def parts(self, round_: int, parts: Sequence[bytes]) -> Sequence[bytes]:
        """Random bytes of the same lengths, the same in each call of a round."""
        rng = np.random.default_rng([self.seed, round_])
        return [rng.bytes(len(part)) for part in parts]


class silent(Attack):
    """Trains and listens, but sends nothing: every wait for it runs into its deadline."""

    def sends(self, round_: int, kind: str, message: bytes) -> bytes | None:
        """None."""
        return None
