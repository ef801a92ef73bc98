"""How far each author is believed about each class, from how its labels fit one's own examples."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats
from workloads.recall.neighbours import Labels, Neighbours
from workloads.recall.vote import author_shares

EXCESS_GOOD = 0.15
"""Excess up to which an author is fully believed."""
EXCESS_BAD = 0.35
"""Excess from which an author is not believed at all."""
EXCESS_START = (EXCESS_GOOD + EXCESS_BAD) / 2
"""Of the unknown: trust 1/2."""
PRIOR_COUNT = 8.0
"""Examples of a class that the author's mean over all classes is worth."""
COUNT_MAX = 256.0
"""Examples of a class that are remembered: older ones fade."""
RIGHT_MIN = 0.2
"""One's own share of right answers counts as at least so much, as the measure of an excess."""

Doubles = npt.NDArray[np.float64]


class LabelTrust:
    """Scores of all authors; author 0 is oneself and is always believed.

    At an own example of class c an author *interrupts* if its nearest entry is nearer than one's
    own nearest other one. It is wrong with the share of its entries' weight that is not of c. With
    W_ac and N_ac the means over the examples of c of its wrong interruptions and of all, and E_c
    one's own mean wrong share, the example left out,

        excess_ac = (W_ac - N_ac E_c) / max(1 - E_c, ``RIGHT_MIN``),

    at least 0: how often it talks falsely over one's own entries, beyond what they get wrong
    themselves. An honest author of other classes seldom interrupts; one of the same errs as often
    as oneself. Trust falls linearly from 1 at ``EXCESS_GOOD`` to 0 at ``EXCESS_BAD``.

    Args:
        classes: How many there are.
    """

    def __init__(self, classes: int) -> None:
        self._seen = np.zeros(classes)
        self._own_wrong = np.zeros(classes)
        self._near = np.zeros((1, classes))
        self._wrong = np.zeros((1, classes))

    @property
    def counts(self) -> Floats:
        """Examples of each class behind the scores. Shape [C]."""
        return self._seen.astype(np.float32)

    def grow(self, authors: int) -> None:
        """Make room for authors that have just been met."""
        more = authors - len(self._near)
        if more > 0:
            self._near = np.pad(self._near, ((0, more), (0, 0)))
            start = np.broadcast_to(
                EXCESS_START * self._right() * self._seen, (more, len(self._seen))
            )
            self._wrong = np.concatenate([self._wrong, start])

    def scores(self) -> Floats:
        """Trust in each author about each class, never above that in the author. Shape [s, C]."""
        overall = self._overall()[:, None]
        excess = self._seen * self._excess() + PRIOR_COUNT * overall
        return believed(np.maximum(excess / (self._seen + PRIOR_COUNT), overall))

    def authors(self) -> Floats:
        """Trust in each author, all classes alike, in [0, 1]. Shape [s]."""
        return believed(self._overall())

    def observe(self, by_author: Neighbours, labels: Labels, beta: float) -> None:
        """Compare what authors say of own examples with what these are.

        Args:
            by_author: The examples' neighbours of each author, without the example itself, but
                with copies of it by others. Shape [s, q, k].
            labels: Of the examples, below the number of classes. Shape [q].
            beta: As in the vote.
        """
        authors, queries, _ = by_author.ids.shape
        self.grow(authors)
        wrong = np.empty((authors, queries))
        for author in range(authors):
            near = Neighbours(
                by_author.ids[author], by_author.similarity[author], by_author.labels[author]
            )
            shares, _ = author_shares(near, authors, len(self._seen), beta)
            wrong[author] = 1 - shares[author, np.arange(queries), labels]
        nearest = by_author.similarity[:, :, 0]
        interrupts = (nearest > -np.inf) & (nearest >= nearest[0])
        wrong = np.where(np.isnan(wrong), 1.0, wrong)
        np.add.at(self._seen, labels, 1)
        np.add.at(self._own_wrong, labels, wrong[0])
        for author in range(1, authors):
            np.add.at(self._near[author], labels, interrupts[author])
            np.add.at(self._wrong[author], labels, interrupts[author] * wrong[author])
        fade = np.minimum(1, COUNT_MAX / np.maximum(self._seen, 1))
        for sums in (self._seen, self._own_wrong, self._near, self._wrong):
            sums *= fade

    def dump(self) -> dict[str, Doubles]:
        """All state as arrays."""
        own = np.stack([self._seen, self._own_wrong])
        return {"own": own, "near": self._near, "wrong": self._wrong}

    def load(self, state: Mapping[str, Doubles]) -> None:
        """Take over what ``dump`` gave."""
        self._seen, self._own_wrong = state["own"].astype(np.float64)
        self._near = state["near"].astype(np.float64)
        self._wrong = state["wrong"].astype(np.float64)

    def _right(self) -> Doubles:
        """One's own share of right answers, as a measure. Shape [C]."""
        right: Doubles = np.maximum(1 - self._own_wrong / np.maximum(self._seen, 1), RIGHT_MIN)
        return right

    def _excess(self) -> Doubles:
        """By author and class, 0 where a class was not seen. Shape [s, C]."""
        seen = np.maximum(self._seen, 1)
        beyond = (self._wrong - self._near * self._own_wrong / seen) / seen
        return np.maximum(beyond, 0) / self._right()

    def _overall(self) -> Doubles:
        """Mean excess over the classes, each worth as much once it is known. Shape [s]."""
        known = self._seen / (self._seen + PRIOR_COUNT)
        overall: Doubles = (self._excess() @ known + EXCESS_START) / (known.sum() + 1)
        return overall


def believed(excess: Doubles) -> Floats:
    """Trust at an excess; row 0 is oneself. Shape [s, ...]."""
    trust = np.clip((EXCESS_BAD - excess) / (EXCESS_BAD - EXCESS_GOOD), 0, 1)
    trust[0] = 1
    return trust.astype(np.float32)
