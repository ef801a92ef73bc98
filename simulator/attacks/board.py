"""What attackers of one world share: who they are, and the honest updates of a round in advance.

In a simulation attackers are omniscient: they choose after they have seen every honest update. The
honest nodes know nothing of it; their ``Observed`` behaviour shows what they contribute.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from node.identity import Identity, Signer
from node.jobs.honest import Honest
from node.ports import FloatVector
from node.types import PeerId

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

WAIT_S = 0.5
"""Longest virtual wait for the honest updates of a round, after one's own is ready."""
ROUNDS_KEPT = 3


@dataclass(frozen=True)
class Crowd:
    """The honest updates of one round, and how many lie."""

    rows: Matrix
    """Shape [H, d], H at least 1, in the order of the peers' ids."""
    liars: int

    @property
    def mean(self) -> Vector:
        """Shape [d]."""
        return np.asarray(self.rows.mean(axis=0))

    @property
    def std(self) -> Vector:
        """Of each coordinate, shape [d]; zero where one update stands for all."""
        return np.asarray(self.rows.std(axis=0))

    @property
    def spread(self) -> float:
        """Root mean square of the distances to the mean."""
        return float(np.sqrt(np.mean(np.sum((self.rows - self.mean) ** 2, axis=1))))


@dataclass
class Board:
    """Where honest updates are shown and attackers look.

    Args:
        rule: name of the aggregation rule that the adaptive attacks optimise against.
        make_signer: 32 secret bytes -> a fresh identity whose signatures the world accepts.
    """

    rule: str = "caf"
    make_signer: Callable[[bytes], Signer] = Identity
    honest: Sequence[PeerId] = ()
    """Electors that do not lie, sorted."""
    liars: frozenset[PeerId] = frozenset()
    _shown: dict[int, dict[PeerId, FloatVector]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, round_: int, peer: PeerId, update: FloatVector) -> None:
        """An honest update is ready."""
        self._shown.setdefault(round_, {})[peer] = update
        for old in [r for r in self._shown if r <= round_ - ROUNDS_KEPT]:
            del self._shown[old]
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def crowd(self, round_: int) -> Crowd | None:
        """The honest updates of a round, once all that are to be expected are there.

        Those who were missing a round ago are not waited for. None: nobody showed any in time.
        """
        before = self._shown.get(round_ - 1)
        expected = set(before) if before else set(self.honest)
        try:
            async with asyncio.timeout(WAIT_S):
                while not expected <= self._shown.get(round_, {}).keys():
                    await self._changed.wait()
        except TimeoutError:
            pass
        shown = self._shown.get(round_)
        if not shown:
            return None
        rows = np.stack([shown[peer] for peer in sorted(shown)]).astype(np.float64)
        return Crowd(rows, max(1, len(self.liars)))


class Observed(Honest):
    """An honest node in a world with attackers, who see what it contributes. It changes nothing."""

    def __init__(self, board: Board, peer: PeerId) -> None:
        self._board = board
        self._peer = peer

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The update itself, shown."""
        self._board.show(round_, self._peer, update)
        return update
