"""How far each author is believed, from how well its entries foretold one's own experience."""

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats

MISS_GOOD = 2.0
"""Mean miss, in units of the scale, up to which an author is fully believed."""
MISS_BAD = 5.0
"""Mean miss from which an author is not believed at all."""
MISS_MAX = 20.0
"""One comparison counts for no more than this, so that a single accident does not ruin anybody."""
MEMORY = 1 / 256
"""Weight of the newest comparison in the running means."""
PRIOR_COUNT = 16.0
"""Comparisons that the prior is worth, which is trust 1/2."""
RETURN_SHARE = 0.25
"""The scale has at least this share of the mean absolute return: below it nobody is blamed."""
NEARNESS = 2.0
"""An author is compared only if its nearest entry is at most so many times as far as one's own."""


class Trust:
    """Scores of all authors; author 0 is oneself and is always believed.

    When an own return G is final, author a's miss is |e_a - G| / scale, where e_a is what its
    entries near the key said when the step was taken, and scale = mean |e_0 - G| + mean |G| / 4:
    one's own memory, at the same keys, is the yardstick. Trust falls linearly from 1 at a mean miss
    of ``MISS_GOOD`` to 0 at ``MISS_BAD``. An author whose values are merely those of another policy
    stays near 1; inflated or random values do not.
    """

    def __init__(self) -> None:
        self._misses = np.zeros(1)
        self._counts = np.zeros(1)
        self._own_error = 0.0
        self._mean_return = 0.0
        self._own_count = 0

    @property
    def counts(self) -> Floats:
        """Comparisons behind each score. Shape [s]."""
        return self._counts.astype(np.float32)

    def grow(self, authors: int) -> None:
        """Make room for authors that have just been met."""
        more = max(0, authors - len(self._misses))
        self._misses = np.concatenate([self._misses, np.full(more, (MISS_GOOD + MISS_BAD) / 2)])
        self._counts = np.concatenate([self._counts, np.zeros(more)])

    def scores(self) -> Floats:
        """Trust in each author, in [0, 1]. Shape [s]."""
        scores = np.clip((MISS_BAD - self._misses) / (MISS_BAD - MISS_GOOD), 0, 1)
        scores[0] = 1
        return scores.astype(np.float32)

    def observe(self, estimates: Floats, nearest: Floats, got: float) -> None:
        """Compare what was foretold of a step with what came.

        Args:
            estimates: Of each author for the action taken; NaN where it had none. An author met
                later may be missing. Shape [s].
            nearest: Distance of each author's nearest entry. Shape [s].
            got: Own final return.
        """
        self._own_count += 1
        pace = max(MEMORY, 1 / self._own_count)
        self._mean_return += pace * (abs(got) - self._mean_return)
        if not np.isfinite(estimates[0]):
            return
        self._own_error += pace * (abs(float(estimates[0]) - got) - self._own_error)
        scale = self._own_error + RETURN_SHARE * self._mean_return
        if scale <= 0:
            return
        near = np.isfinite(estimates) & (nearest <= NEARNESS * nearest[0])
        near[0] = False
        compared = np.flatnonzero(near)
        misses = np.minimum(np.abs(estimates[compared] - got) / scale, MISS_MAX)
        self._counts[compared] += 1
        paces = np.maximum(MEMORY, 1 / (PRIOR_COUNT + self._counts[compared]))
        self._misses[compared] += paces * (misses - self._misses[compared])

    def dump(self) -> dict[str, npt.NDArray[np.float64]]:
        """All state as arrays."""
        scales = np.array([self._own_error, self._mean_return, self._own_count], np.float64)
        return {"misses": self._misses, "counts": self._counts, "scales": scales}

    def load(self, state: dict[str, npt.NDArray[np.float64]]) -> None:
        """Take over what ``dump`` gave."""
        self._misses = state["misses"].astype(np.float64)
        self._counts = state["counts"].astype(np.float64)
        self._own_error, self._mean_return = (float(x) for x in state["scales"][:2])
        self._own_count = int(state["scales"][2])
