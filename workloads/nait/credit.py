"""When returns enter the memory: while the episode runs, or at the end of the trace."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from workloads.nait.outbox import Outbox
from workloads.nait.trace import Trace, backward_returns
from workloads.recall.index import Floats, Ids, Keys
from workloads.recall.memory import SELF, Memory, digest

Comparison = tuple[Floats, Floats, float]
"""What each author foretold, how near its entries were (both [authors]), and what came."""


class Credit(ABC):
    """Own steps on their way into the memory.

    Args:
        memory: Written to as author 0.
        gamma: Discount of a step.
        revisit: Weight of the newest return under a key that is seen again.
    """

    def __init__(self, memory: Memory, gamma: float, revisit: float) -> None:
        self._memory = memory
        self._gamma = gamma
        self._revisit = revisit
        self._outbox = Outbox()
        self._foretold: list[tuple[int, Floats, Floats]] = []
        self._compared: list[Comparison] = []

    @abstractmethod
    def visit(self, action: int, key: Keys, key_digest: bytes) -> None:
        """An action is taken under a key of shape [d]."""

    @abstractmethod
    def reward(self, reward: float) -> None:
        """What it brought."""

    @abstractmethod
    def close(self) -> None:
        """The trace has ended: a life is lost or the episode over."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Steps of the running trace."""

    @abstractmethod
    def take(self, limit: int) -> Ids:
        """Nodes that have become final; see ``Outbox.take``."""

    def foretell(self, estimates: Floats, nearest: Floats) -> None:
        """Keep what the authors say of the step that comes. Two arrays of shape [authors]."""
        self._foretold.append((self.length, estimates.copy(), nearest.copy()))

    def compared(self) -> list[Comparison]:
        """Comparisons of what became final since the last call."""
        compared, self._compared = self._compared, []
        return compared

    def renumber(self, moved: Ids) -> None:
        """The memory's nodes have new numbers. Shape [nodes before]."""
        self._outbox.renumber(moved)

    def _compare(self, returns: Floats) -> None:
        """Take what was foretold of the trace's first steps, whose returns these are."""
        final = [told for told in self._foretold if told[0] < len(returns)]
        self._foretold = self._foretold[len(final) :]
        self._compared += [(e, near, float(returns[at])) for at, e, near in final]

    @abstractmethod
    def dump(self) -> dict[str, Any]:
        """All state as arrays; what was foretold in the running trace is left out."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``dump`` gave; the memory is loaded already."""


class InEpisode(Credit):
    """Each reward is credited as it comes: a step is remembered before the next is chosen."""

    def __init__(self, memory: Memory, gamma: float, revisit: float) -> None:
        super().__init__(memory, gamma, revisit)
        self._trace = Trace(gamma)

    @property
    def length(self) -> int:
        """Steps of the running trace."""
        return len(self._trace)

    def visit(self, action: int, key: Keys, key_digest: bytes) -> None:
        """Remember the step with nothing earned yet; what is known already decays at once."""
        node = self._memory.put(action, key, key_digest)
        own = self._memory.values[SELF]
        again = not np.isnan(own[node])
        weight = self._revisit if again else 1.0
        own[node] = own[node] * (1 - weight) if again else 0.0
        self._trace.visit(node, weight, again)
        self._outbox.visit(node)

    def reward(self, reward: float) -> None:
        """Credit it to the last L steps."""
        if reward != 0:
            self._trace.credit(reward, self._memory.values[SELF])

    def close(self) -> None:
        """All partial returns are final as they stand."""
        self._compare(self._trace.returns)
        self._trace.clear()

    def compared(self) -> list[Comparison]:
        """Of closed traces, and of steps older than L: a liar fades amid a long trace."""
        self._compare(self._trace.returns[: max(0, len(self._trace) - self._trace.horizon)])
        return super().compared()

    def renumber(self, moved: Ids) -> None:
        """The memory's nodes have new numbers. Shape [nodes before]."""
        super().renumber(moved)
        self._trace.renumber(moved)

    def take(self, limit: int) -> Ids:
        """Final: of closed traces, or older than L steps."""
        return self._outbox.take(min(len(self._trace), self._trace.horizon), limit)

    def dump(self) -> dict[str, Any]:
        """The running trace and what is to be exported."""
        trace = self._trace
        return {
            "nodes": trace.nodes,
            "weights": trace.weights,
            "returns": trace.returns,
            "visits": self._outbox.dump(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``dump`` gave."""
        self._trace.load(state["nodes"], state["weights"], state["returns"])
        self._outbox.load(state["visits"])


class EndOfTrace(Credit):
    """Plain every-visit Monte-Carlo, for comparison: nothing is remembered until the trace ends."""

    def __init__(self, memory: Memory, gamma: float, revisit: float) -> None:
        super().__init__(memory, gamma, revisit)
        self._steps: list[tuple[int, Keys]] = []
        self._rewards: list[float] = []

    @property
    def length(self) -> int:
        """Steps of the running trace."""
        return len(self._steps)

    def visit(self, action: int, key: Keys, key_digest: bytes) -> None:
        """Note the step."""
        self._steps.append((action, key))

    def reward(self, reward: float) -> None:
        """Note what it brought."""
        self._rewards.append(reward)

    def close(self) -> None:
        """Remember all steps with their returns."""
        returns = backward_returns(np.array(self._rewards, np.float32), self._gamma)
        for (action, key), got in zip(self._steps, returns, strict=True):
            node = self._memory.put(action, key, digest(key))
            own = self._memory.values[SELF]
            known = not np.isnan(own[node])
            own[node] = own[node] + self._revisit * (got - own[node]) if known else got
            self._outbox.visit(node)
        self._compare(returns)
        self._steps.clear()
        self._rewards.clear()

    def take(self, limit: int) -> Ids:
        """All that is remembered is final."""
        return self._outbox.take(0, limit)

    def dump(self) -> dict[str, Any]:
        """The running trace and what is to be exported."""
        keys = [key for _, key in self._steps]
        return {
            "actions": np.array([action for action, _ in self._steps], np.uint8),
            "keys": np.array(keys, np.int8).reshape(len(keys), -1),
            "rewards": np.array(self._rewards, np.float64),
            "visits": self._outbox.dump(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``dump`` gave."""
        self._steps = list(zip(state["actions"].tolist(), state["keys"], strict=True))
        self._rewards = state["rewards"].tolist()
        self._outbox.load(state["visits"])
