"""Momentum of a contributor: it sends a moving average of its updates, and rules see less noise.

Honest updates of one round differ by their data; averaged over rounds they differ less, while a lie
that is repeated stays what it is. Local to a node, before compression; docs/protocol.md, "Local
memory".

Source: Karimireddy, He, Jaggi 2021, arXiv:2012.10333, Algorithm 2 (worker momentum as an average:
m = beta m + (1 - beta) u). Differs: divided by 1 - beta^n after n updates (Kingma, Ba 2014,
arXiv:1412.6980, section 3), or the first rounds of a job would be small steps.
"""

from dataclasses import dataclass

import numpy as np

from node.ports import FloatVector


@dataclass(frozen=True, eq=False)
class Momentum:
    """The moving average after some updates. ``advance`` gives the next one."""

    average: FloatVector
    """(1 - beta) sum of beta^(n - i) u_i. Shape [d]."""
    weight: float
    """What is left of the start: beta^n; 1 before the first update."""

    @classmethod
    def zero(cls, d: int) -> "Momentum":
        """Before the first update."""
        return cls(np.zeros(d, np.float32), 1.0)

    @property
    def update(self) -> FloatVector:
        """What to send: the average over the updates there were, in a new buffer. Shape [d]."""
        assert self.weight < 1, "nothing was averaged yet"
        return np.divide(self.average, np.float32(1 - self.weight), dtype=np.float32)


def advance(before: Momentum, update: FloatVector, beta: float) -> Momentum:
    """The average with one update more.

    Args:
        before: Stays as it is: the round may not use the contribution.
        update: Shape [d].
        beta: In (0, 1).
    """
    with np.errstate(all="ignore"):  # an update may hold anything; the codec refuses it
        old = np.multiply(before.average, np.float32(beta), dtype=np.float32)
        new = np.multiply(update, np.float32(1 - beta), dtype=np.float32)
        return Momentum(np.add(old, new, out=old), before.weight * beta)
