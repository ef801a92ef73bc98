"""What a learner has played so far: episodes, scores, and the best game, move by move."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError

RECENT = 10
"""Episodes behind "the score" of a learner that still learns."""


@dataclass(frozen=True)
class Episode:
    """One finished game."""

    end_step: int
    """Agent steps of the whole run when it ended."""
    score: float
    steps: int
    stalled: bool
    """Ended by the stall rule."""


class Records:
    """Scores of finished episodes, and the moves of the running and of the best one."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.best_moves = b""
        self.best_start = 0
        self.start = 0
        self.moves = bytearray()
        self.score = 0.0

    def begin(self, start: int) -> None:
        """An episode starts."""
        self.start = start
        self.moves.clear()
        self.score = 0.0

    def move(self, action: int, reward: float) -> None:
        """A step of it."""
        self.moves.append(action)
        self.score += reward

    def finish(self, end_step: int, stalled: bool) -> None:
        """It has ended."""
        if not self.episodes or self.score > self.best:
            self.best_moves, self.best_start = bytes(self.moves), self.start
        self.episodes.append(Episode(end_step, self.score, len(self.moves), stalled))

    @property
    def best(self) -> float:
        """Highest score; NaN before the first episode has ended."""
        return max((episode.score for episode in self.episodes), default=float("nan"))

    def recent(self, count: int = RECENT) -> float:
        """Mean score of the newest episodes; NaN before the first has ended."""
        scores = [episode.score for episode in self.episodes[-count:]]
        return sum(scores) / len(scores) if scores else float("nan")

    def dump(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it as arrays."""
        rows = [(e.end_step, e.score, e.steps, e.stalled) for e in self.episodes]
        return {
            "episodes": np.array(rows, np.float64).reshape(len(rows), 4),
            "best_moves": np.frombuffer(self.best_moves, np.uint8),
            "moves": np.frombuffer(bytes(self.moves), np.uint8),
            "numbers": np.array([self.best_start, self.start, self.score], np.float64),
        }

    def load(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take over what ``dump`` gave.

        Raises:
            WorkloadError: It has another form.
        """
        rows = np.asarray(state["episodes"], np.float64)
        if rows.ndim != 2 or rows.shape[1] != 4:
            raise WorkloadError("the kept episodes have another form: the file is damaged")
        self.episodes = [Episode(int(r[0]), float(r[1]), int(r[2]), bool(r[3])) for r in rows]
        self.best_moves = state["best_moves"].tobytes()
        self.moves = bytearray(state["moves"].tobytes())
        numbers = np.asarray(state["numbers"], np.float64)
        self.best_start, self.start = int(numbers[0]), int(numbers[1])
        self.score = float(numbers[2])
