"""Logit-adjusted cross-entropy.

Source: Menon et al. 2021, arXiv:2007.07314: equation 10 (loss) and equation 9 (post hoc).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


def adjustment(counts: npt.NDArray[np.int64], tau: float) -> Tensor:
    """Offsets tau log pi_c with pi the class frequencies; -inf for classes without examples.

    A class without examples takes no part in the loss: nothing is known against it.

    Args:
        counts: Training examples of each class, one at least in all. Shape [C].
        tau: At least 0.
    """
    seen = counts > 0
    offsets = np.full(len(counts), -np.inf, np.float32)
    offsets[seen] = tau * np.log(counts[seen] / counts.sum())
    return torch.from_numpy(offsets)


def lace(logits: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
    """Mean over the batch of -log softmax(z + tau log pi)_y.

    Args:
        logits: z. Shape [n, C].
        labels: y; classes with examples. Shape [n].
        offsets: As ``adjustment`` gives them. Shape [C].
    """
    return functional.cross_entropy(logits + offsets, labels)
