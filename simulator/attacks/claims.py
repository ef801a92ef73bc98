"""Attacks on what a contributor claims about its work, where claims might buy weight or credit."""

from dataclasses import replace

import numpy as np

from node.ports import FloatVector
from node.wire.convert import decode_commitment, encode_commitment
from simulator.attacks.base import Attack

STEPS_MAX = 2**32 - 1
"""Largest number of steps that a commitment can hold."""


class inflate_steps(Attack):
    """Claims 1000 times ``scale`` as many local steps as it did.

    Source: Ryabinin et al. 2020, hivemind: the weight in averaging is what a peer declares.
    """

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The commitment with inflated steps."""
        return claiming(body, 1000.0 * self.scale) if kind == "commit" else body


class inflate_weight(Attack):
    """Claims 10 times ``scale`` as many steps, with an update as long as they would make it."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """As long as the claim."""
        with np.errstate(over="ignore", invalid="ignore"):
            return update * np.float32(10.0 * self.scale)

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The commitment with inflated steps."""
        return claiming(body, 10.0 * self.scale) if kind == "commit" else body


def claiming(body: bytes, factor: float) -> bytes:
    """The body of a commitment with ``factor`` times its steps, at least 1."""
    commitment = decode_commitment(body)
    steps = int(min(max(1.0, commitment.steps * factor), STEPS_MAX))
    return encode_commitment(replace(commitment, steps=steps))
