"""NAIT as a job of a swarm: every node plays, and all remember.

What is learned is in the shared memory. The job's few parameters are what the swarm agrees on of
how well it plays: each node tells its own numbers, and the job's rule, ``median`` say, joins them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workloads.api import (
    Advance,
    Clock,
    Entries,
    FloatVector,
    MemoryForm,
    TrainResult,
    WorkloadError,
)
from workloads.nait.batch import Batch
from workloads.nait.learner import Learner

TOLD = ("score", "episodes", "steps")
"""The parameters, by name: numbers of a node as ``Learner.metrics`` names them."""
EXPORT_VISITS = 1 << 16
"""Visits looked at in one export: all that a slice can have made."""


class NaitWorkload:
    """Plays one game with a memory that the swarm shares; see ``workloads.api``.

    Implements ``Workload`` and ``Remembers``. What peers send is checked; a batch that no honest
    player makes is dropped and counted.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        """Check the config and load the game.

        Raises:
            WorkloadError: The config or the seed cannot work, or the extra ``nait`` is missing.
        """
        self._learner = Learner(config, seed)
        self._dropped = 0

    # Parameters --------------------------------------------------------------------------------

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """One number each."""
        return [(name, (1,)) for name in TOLD]

    def initial(self) -> FloatVector:
        """Nobody has played. Shape [3]."""
        return np.zeros(len(TOLD), np.float32)

    def train(
        self,
        params: FloatVector,
        *,
        round_: int,
        rounds: int,
        data_seed: bytes,
        steps: int,
        deadline_s: float,
        continued: bool,
        clock: Clock,
    ) -> TrainResult:
        """Take no step: say by how much the parameters differ from this node's numbers."""
        own = self._learner.metrics()
        numbers = np.array([_finite(own[name]) for name in TOLD], np.float32)
        if params.shape != numbers.shape:
            raise WorkloadError(f"parameters of shape {params.shape}, not {numbers.shape}")
        return TrainResult(params - numbers, steps, -_finite(own["score"]))

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """This node's numbers, and what the swarm agreed on as ``swarm_score``."""
        own = {k: v for k, v in self._learner.metrics().items() if math.isfinite(v)}
        return {**own, "batches_dropped": float(self._dropped), "swarm_score": float(params[0])}

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """``best.gif``, ``curve.png``, ``memory.png``, as far as there is something to show."""
        return self._learner.artifacts(folder)

    def reset(self) -> None:
        """There is no optimiser."""

    # Memory ------------------------------------------------------------------------------------

    @property
    def memory(self) -> MemoryForm:
        """Keys of the config's length, and the action as payload."""
        config = self._learner.config
        quota = min(config.author_entries, 1_000_000)
        return MemoryForm(self._learner.dimensions, "int8", 1, max(quota, 4))

    def start(self, data_seed: bytes) -> None:
        """Play on from another seed than others."""
        self._learner.reseed(int.from_bytes(data_seed, "big"))

    def advance(self, steps_max: int, deadline_s: float, clock: Clock) -> Advance:
        """Play, and give what has become final."""
        progress = self._learner.play(steps_max, deadline_s, clock)
        batch = self._learner.export(EXPORT_VISITS)
        return Advance(
            progress.steps, Entries(batch.keys, batch.values, batch.actions[:, None].copy())
        )

    def absorb(self, author: str, entries: Entries) -> None:
        """Remember it too; what is malformed is dropped."""
        batch = Batch(
            np.ascontiguousarray(entries.keys),
            np.ascontiguousarray(entries.payload[:, 0]),
            entries.values.astype(np.float32),
        )
        try:
            if author:
                self._learner.absorb(batch, author)
            else:
                self._learner.regain(batch)
        except WorkloadError:
            self._dropped += 1

    def forget(self, author: str) -> None:
        """Drop all that ``author`` ever said."""
        self._learner.forget(author)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
