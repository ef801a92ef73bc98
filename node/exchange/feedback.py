"""Error feedback: what compression lost in one round is added to the next update.

When the residual advances, and when it returns to an older value, is the round's decision.

Source: Seide et al. 2014 (1-bit SGD); Karimireddy et al. 2019, arXiv:1901.09847, Algorithm 1.
"""

import numpy as np

from node.ports import FloatVector


def compensate(update: FloatVector, residual: FloatVector) -> FloatVector:
    """The vector to encode: ``update + residual``, in a new buffer. Shape [d]."""
    with np.errstate(all="ignore"):
        return np.add(update, residual, dtype=np.float32)


def residual_after(x: FloatVector, decoded: FloatVector) -> FloatVector:
    """What the codec lost of ``x``: ``x - decoded``, in a new buffer. Shape [d].

    Args:
        x: The vector that was encoded (from ``compensate``).
        decoded: What everybody decodes from those bytes.
    """
    with np.errstate(all="ignore"):
        return np.subtract(x, decoded, dtype=np.float32)
