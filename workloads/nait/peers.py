"""What others remember: taken in, scored, and forgotten if it misleads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.nait.batch import Batch
from workloads.nait.config import NaitConfig
from workloads.nait.credit import Comparison, Credit
from workloads.recall.index import Floats
from workloads.recall.memory import Memory
from workloads.recall.trust import Trust

FORGET_BELOW = 0.05
"""An author trusted less is forgotten, and then heard with no more than ``PAROLE`` entries."""
FORGET_AFTER = 64
"""Comparisons before that."""
PAROLE = 2048
"""Entries by which a forgotten author may show that it has changed."""


@dataclass(frozen=True)
class AuthorState:
    """How one's memory stands to one other author."""

    name: str
    entries: int
    trust: float
    """In [0, 1]."""
    comparisons: int
    """Own returns that its entries were compared with."""


class Peers:
    """The other authors of a memory.

    Args:
        memory: Written to under the authors' numbers.
        credit: Told when nodes have new numbers.
        config: Shares and quotas.
    """

    def __init__(self, memory: Memory, credit: Credit, config: NaitConfig) -> None:
        self._memory = memory
        self._credit = credit
        self._config = config
        self.scores = Trust()
        self._leaving: set[int] = set()
        """Authors who are to be forgotten when authors are scored next."""
        self.dropped = 0
        """Entries refused because their author had used up its quota."""

    @property
    def any(self) -> bool:
        """Whether anybody else was ever heard of."""
        return bool(self._memory.authors)

    def trust(self) -> Floats:
        """In every author, oneself first. Shape [authors]."""
        if self._config.trust and self.any:
            return self.scores.scores()
        return np.ones(len(self._memory.authors) + 1, np.float32)

    def take(self, batch: Batch, author: str) -> None:
        """Write a checked batch."""
        number = self._memory.number(author)
        self.scores.grow(number + 1)
        quota = PAROLE if self._is_unbelieved(number) else self._config.author_entries
        room = max(0, quota - self._memory.entries(number))
        self.dropped += max(0, len(batch) - room)
        self._memory.write(number, batch.actions[:room], batch.keys[:room], batch.values[:room])

    def learn(self, compared: Sequence[Comparison]) -> None:
        """Score the authors by own returns; forget who is believed no more."""
        if self._config.trust:
            for estimates, nearest, got in compared:
                self.scores.observe(estimates, nearest, got)
        for number in self._memory.authors.values():
            unbelieved = self._is_unbelieved(number) and self._memory.entries(number) > PAROLE
            if unbelieved or number in self._leaving:
                self._credit.renumber(self._memory.forget(number))
        self._leaving.clear()

    def forget(self, author: str) -> None:
        """Drop an author's entries some steps later; unknown ones are ignored."""
        number = self._memory.authors.get(author)
        if number is not None:
            self._leaving.add(number)

    def states(self) -> list[AuthorState]:
        """All of them, in the order of their first batch."""
        trust, counts = self.trust(), self.scores.counts
        return [
            AuthorState(
                name, self._memory.entries(number), float(trust[number]), int(counts[number])
            )
            for name, number in self._memory.authors.items()
        ]

    def _is_unbelieved(self, number: int) -> bool:
        if not self._config.trust or self.scores.counts[number] < FORGET_AFTER:
            return False
        return bool(self.scores.scores()[number] < FORGET_BELOW)
