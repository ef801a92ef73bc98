"""A player that learns while it plays, alone or from what others remember too."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workloads.api import Clock, WorkloadError
from workloads.nait import keeping, pictures
from workloads.nait.batch import Batch
from workloads.nait.config import NaitConfig
from workloads.nait.credit import Credit, EndOfTrace, InEpisode
from workloads.nait.games import make_environment
from workloads.nait.peers import AuthorState, Peers
from workloads.nait.policy import Policy
from workloads.nait.records import Records
from workloads.nait.representation import Stack
from workloads.recall.index import GraphIndex, Index, Keys
from workloads.recall.memory import SELF, Memory, digest
from workloads.recall.retrieval import Estimates, estimate

FETCH = 4
"""Candidates fetched for each neighbour wanted, where several authors may crowd each other out."""
COMPARE_EVERY = 4
"""Steps from one comparison of the authors with own experience to the next."""
LEARN_EVERY = 64
"""Steps from one scoring of the authors to the next."""


@dataclass(frozen=True)
class Progress:
    """What a call of ``play`` did."""

    steps: int
    """Agent steps of this call."""
    episodes: int
    """Episodes that ended in it."""
    score: float
    """Mean of the newest ten finished episodes of the whole run; NaN before the first."""


class Learner:
    """One game, one memory, one player.

    Args:
        config: The job's ``[workload]`` table; unknown keys are refused.
        seed: Of every draw, at least 0; peers of one job take different ones.
        make_index: For tests; a proximity graph otherwise.

    Raises:
        WorkloadError: The config cannot work, or the extra ``nait`` is not installed.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        seed: int,
        make_index: Callable[[int], Index] | None = None,
    ) -> None:
        if seed < 0:
            raise WorkloadError(f"seed {seed} is negative: choose one that is at least 0")
        self.config = NaitConfig.parse(config)
        self.seed = seed
        self.environment = make_environment(self.config)
        self._stack = Stack(self.environment.encoder(), self.config.frames)
        dimensions = self._stack.dimensions
        make = make_index or self._make_graph
        self.memory = Memory(self.environment.actions, dimensions, lambda: make(dimensions))
        self.records = Records()
        kind = InEpisode if self.config.update == "in_episode" else EndOfTrace
        self._credit: Credit = kind(self.memory, self.config.gamma, self.config.revisit)
        self._peers = Peers(self.memory, self._credit, self.config)
        self._policy = Policy(self.config.explore, self.config.hold)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._key: Keys | None = None
        self._idle = 0
        self._drawn: tuple[Path, bytes] | None = None
        self.steps = 0

    @property
    def dimensions(self) -> int:
        """Length of a key."""
        return self._stack.dimensions

    # Playing -----------------------------------------------------------------------------------

    def play(self, steps_max: int, deadline_s: float, clock: Clock) -> Progress:
        """Play on from where it stands, over the ends of episodes.

        Args:
            steps_max: Agent steps.
            deadline_s: Stop after this long, looked at after every step.
            clock: Seconds that never go back.
        """
        start_s, episodes = clock(), len(self.records.episodes)
        done = 0
        while done < steps_max:
            self._step()
            done += 1
            if clock() - start_s >= deadline_s:
                break
        return Progress(done, len(self.records.episodes) - episodes, self.records.recent())

    def _step(self) -> None:
        key = self._key if self._key is not None else self._begin()
        estimates = self.estimate(key)
        action = self._policy.choose(estimates, self._rng)
        if self._peers.any and self.steps % COMPARE_EVERY == 0:
            self._credit.foretell(estimates.by_author[:, action], estimates.nearest[:, action])
        self._credit.visit(action, key, digest(key))
        outcome = self.environment.step(action)
        self.steps += 1
        self.records.move(action, outcome.reward)
        self._credit.reward(outcome.reward)
        self._idle = self._idle + 1 if outcome.reward == 0 else 0
        stalled = 0 < self.config.stall_steps <= self._idle
        if outcome.over or stalled or outcome.life_lost:
            self._credit.close()
        if self._peers.any and self.steps % LEARN_EVERY == 0:
            self._peers.learn(self._credit.compared())
        if outcome.over or stalled:
            self.records.finish(self.steps, stalled and not outcome.over)
            self._key = None
        else:
            self._key = self._stack.push(outcome.observation)

    def _begin(self) -> Keys:
        """Start an episode; its first key."""
        start = self.environment.draw_start(self._rng)
        self.records.begin(start)
        self._idle = 0
        return self._stack.reset(self.environment.reset(start))

    def estimate(self, key: Keys) -> Estimates:
        """What the memory says of every action under a key of shape [dimensions]."""
        config = self.config
        k = config.neighbours * (FETCH if self._peers.any else 1)
        squares, values, _ = self.memory.near(key.astype(np.float32), k)
        return estimate(
            squares,
            values,
            self._peers.trust(),
            k=config.neighbours,
            share=config.author_share,
            rule=config.rule,
            trim=config.trim,
            kernel=config.kernel,
        )

    # Sharing -----------------------------------------------------------------------------------

    def export(self, limit: int = 4096) -> Batch:
        """Own entries that have become final since the last export.

        An entry is final once its trace has closed or L steps have passed since, so sharing lags
        by no more. One that was visited again comes again, with its new value.

        Args:
            limit: Visits looked at; what is beyond waits for the next call.
        """
        nodes = self._credit.take(limit)
        memory = self.memory
        return Batch(
            memory.keys[nodes].copy(), memory.groups[nodes].copy(), memory.values[SELF, nodes]
        )

    def absorb(self, batch: Batch, author: str) -> None:
        """Remember what another author sent; an author's batches come in its order.

        Raises:
            WorkloadError: The batch is malformed; nothing of it is taken.
        """
        batch.check(self.dimensions, self.environment.actions)
        self._peers.take(batch, author)

    def regain(self, batch: Batch) -> None:
        """Remember own entries of an earlier life, which peers or a disk kept.

        Raises:
            WorkloadError: The batch is malformed; nothing of it is taken.
        """
        batch.check(self.dimensions, self.environment.actions)
        self.memory.write(SELF, batch.actions, batch.keys, batch.values)

    def forget(self, author: str) -> None:
        """Drop all entries of an author; one who was never heard of is ignored."""
        self._peers.forget(author)

    def reseed(self, seed: int) -> None:
        """Draw from another seed, at least 0, from now on."""
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def authors(self) -> list[AuthorState]:
        """All others that were heard of, in the order of their first batch."""
        return self._peers.states()

    # Telling and keeping -----------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Numbers by name; NaN where there is nothing to tell yet."""
        own = self.memory.entries(SELF)
        others = sum(author.entries for author in self.authors())
        return {
            "steps": float(self.steps),
            "episodes": float(len(self.records.episodes)),
            "score": self.records.recent(),
            "score_best": self.records.best,
            "entries_own": float(own),
            "entries_others": float(others),
            "entries_dropped": float(self._peers.dropped),
            "revisits": 1 - own / self.steps if self.steps else math.nan,
            "trust_min": min((author.trust for author in self.authors()), default=1.0),
        }

    def artifacts(self, folder: Path) -> list[Path]:
        """``best.gif``, ``curve.png``, ``memory.png``, as far as there is something to show."""
        title = f"{self.environment.name}, {self.config.protocol}"
        best = folder / "best.gif"
        if self._drawn != (best, self.records.best_moves) or not best.exists():
            pictures.best_game(make_environment(self.config), self.records, best)
            self._drawn = (best, self.records.best_moves)
        made = (
            best if best.exists() else None,
            pictures.curve(self.records, title, folder / "curve.png"),
            pictures.memory_map(self.memory, folder / "memory.png"),
        )
        return [path for path in made if path is not None]

    def checkpoint(self, path: Path) -> None:
        """Keep everything in one file, atomically; no pickle."""
        keeping.save(path, self._dump())

    def restore(self, path: Path) -> None:
        """Take over a checkpoint; what follows is as if the learner had never stopped.

        Only a fresh learner of the same config and seed can.

        Raises:
            WorkloadError: There is no such file, or it is another's or damaged.
        """
        self._load(keeping.load(path, self._identity()))

    def _identity(self) -> str:
        return f"{self.config.model_dump_json()} seed {self.seed}"

    def _dump(self) -> dict[str, Any]:
        state = keeping.prefixed("memory", self.memory.dump())
        state |= keeping.prefixed("trust", self._peers.scores.dump())
        state |= keeping.prefixed("records", self.records.dump())
        state |= keeping.prefixed("credit", self._credit.dump())
        state |= keeping.prefixed("policy", self._policy.dump())
        running = int(self._key is not None)
        numbers = [self.steps, self._idle, running, self._peers.dropped]
        state["numbers"] = np.array(numbers, np.int64)
        state["rng"] = keeping.pack_rng(self._rng)
        state["identity"] = np.array(self._identity())
        return state

    def _load(self, state: Mapping[str, Any]) -> None:
        self.memory.load(keeping.part(state, "memory"))
        self._peers.scores.load(keeping.part(state, "trust"))
        self.records.load(keeping.part(state, "records"))
        self._credit.load(keeping.part(state, "credit"))
        self._policy.load(keeping.part(state, "policy"))
        numbers = (int(number) for number in state["numbers"])
        self.steps, self._idle, running, self._peers.dropped = numbers
        self._rng = keeping.unpack_rng(state["rng"])
        if running:
            self._key = self._stack.reset(self.environment.reset(self.records.start))
            for action in self.records.moves:
                self._key = self._stack.push(self.environment.step(action).observation)

    def _make_graph(self, dimensions: int) -> Index:
        config = self.config
        return GraphIndex(
            dimensions,
            links=config.links,
            breadth_add=config.breadth_add,
            breadth=config.breadth,
        )
