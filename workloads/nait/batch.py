"""Entries on their way from one learner to another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.recall.index import Floats, Keys

VALUE_MAX = 1e9
"""Larger absolute values are refused; no game's return comes near."""
ENTRIES_MAX = 1 << 20
"""Entries of one batch."""


@dataclass(frozen=True)
class Batch:
    """Final entries of one author, oldest first. A later one replaces one of the same key."""

    keys: Keys
    """int8, in the quantisation that the job's config fixes. Shape [n, d]."""
    actions: npt.NDArray[np.uint8]
    """Shape [n]."""
    values: Floats
    """Partial returns that change no more, in the game's points. Shape [n]."""

    def __len__(self) -> int:
        return len(self.actions)

    def check(self, dimensions: int, actions: int) -> None:
        """Refuse what no honest author sends.

        Args:
            dimensions: Length of this job's keys.
            actions: Number of its actions.

        Raises:
            WorkloadError: A shape, a type or a number is out of range.
        """
        parts = (("keys", self.keys, np.int8), ("actions", self.actions, np.uint8))
        for name, array, kind in (*parts, ("values", self.values, np.float32)):
            if not isinstance(array, np.ndarray) or array.dtype != kind:
                raise WorkloadError(f"a batch's {name} are no array of {np.dtype(kind)}")
        count = len(self.actions) if self.actions.ndim == 1 else -1
        if not 0 <= count <= ENTRIES_MAX:
            raise WorkloadError(f"a batch's actions have shape {self.actions.shape}")
        if self.keys.shape != (count, dimensions) or self.values.shape != (count,):
            raise WorkloadError(
                f"a batch of {count} has keys {self.keys.shape} and values {self.values.shape}, "
                f"not ({count}, {dimensions}) and ({count},)"
            )
        if count and int(self.actions.max()) >= actions:
            raise WorkloadError(f"a batch names action {self.actions.max()} of {actions}")
        if not (np.abs(self.values) <= VALUE_MAX).all():  # false for NaN
            raise WorkloadError(f"a batch's value is not finite or beyond {VALUE_MAX:g}")
        if count and int(self.keys.min()) == -128:
            raise WorkloadError("a batch's key holds -128, which no quantisation gives")
