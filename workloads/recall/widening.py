"""float16 keys as float32, at the speed of the processor's own instruction.

numpy converts each value by branches, which features with many zeros keep guessing wrong: it took
twelve times as long (1,280 features of EfficientNet-Lite0, three fifths of them zero).
"""

import numpy as np
import numpy.typing as npt
import torch

from workloads.recall.index import Floats


def widened(keys: npt.NDArray[np.float16] | Floats) -> Floats:
    """The same values: every float16 is a float32. Shape as given."""
    wide: Floats = torch.from_numpy(keys).float().numpy()
    return wide


def widen_into(out: Floats, keys: npt.NDArray[np.float16] | Floats) -> None:
    """The same, into an array of that shape."""
    torch.from_numpy(out).copy_(torch.from_numpy(keys))
