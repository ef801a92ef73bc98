"""The running trace: every reward is credited, at once, to the steps that led to it."""

import math

import numpy as np

from workloads.recall.index import Floats, Ids

CREDIT_MIN = 1e-4
"""A reward discounted below this share is not credited any more."""


def horizon(gamma: float) -> int:
    """Steps after which an entry's value can change no more: L = ceil(ln 1e-4 / ln gamma)."""
    return math.ceil(math.log(CREDIT_MIN) / math.log(gamma))


class Trace:
    r"""Steps from a start to a loss of life, with their partial returns.

    After reward r_t the partial return of step i is G_i(t) = G_i(t-1) + gamma^(t-i) r_t; at the
    trace's last step it is the Monte-Carlo return sum_j gamma^(j-i) r_j, the sum cut after L steps.
    No estimate ever enters a target, so nothing can diverge. The value of a node that is visited
    several times is the moving average v <- (1 - alpha) v + alpha G over its visits, kept up while
    the G still grow: each visit holds a weight, which a later visit to the same node decays.

    Source: Long, Blair, van Hoof 2022, arXiv:2203.03078, for the update within the episode; the
    form with weights is ours.

    Args:
        gamma: Discount of a step, in (0, 1).
        steps: Room at first; it doubles.
    """

    def __init__(self, gamma: float, steps: int = 1024) -> None:
        self.horizon = horizon(gamma)
        self._decays = (gamma ** np.arange(self.horizon, -1, -1)).astype(np.float32)
        self._nodes = np.empty(steps, np.int64)
        self._weights = np.empty(steps, np.float32)
        self._returns = np.empty(steps, np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nodes(self) -> Ids:
        """Visited, in order. Shape [steps]."""
        return self._nodes[: self._count]

    @property
    def returns(self) -> Floats:
        """Partial returns so far. Shape [steps]."""
        return self._returns[: self._count]

    @property
    def weights(self) -> Floats:
        """Share of each visit in its node's value. Shape [steps]."""
        return self._weights[: self._count]

    def visit(self, node: int, weight: float, again: bool) -> None:
        """Append a step.

        Args:
            node: Where it is remembered.
            weight: Share of this visit in the node's value: 1 for a new one, else alpha.
            again: The node was there before: what its earlier visits hold shrinks by 1 - weight.
        """
        count = self._count
        if count == len(self._nodes):
            self._double()
        if again:
            low = max(0, count - self.horizon)
            earlier = np.flatnonzero(self._nodes[low:count] == node)
            if len(earlier):
                self._weights[low + earlier] *= np.float32(1 - weight)
        self._nodes[count] = node
        self._weights[count] = weight
        self._returns[count] = 0
        self._count = count + 1

    def credit(self, reward: float, values: Floats) -> None:
        """Credit the newest step's reward to it and to those before.

        Args:
            reward: Of the newest step.
            values: Of all nodes, changed in place. Shape [nodes].
        """
        low = max(0, self._count - 1 - self.horizon)
        shares = self._decays[low - self._count :] * np.float32(reward)
        self._returns[low : self._count] += shares
        np.add.at(values, self._nodes[low : self._count], shares * self._weights[low : self._count])

    def renumber(self, moved: Ids) -> None:
        """Nodes have new numbers. Shape [nodes before]."""
        self._nodes[: self._count] = moved[self._nodes[: self._count]]

    def clear(self) -> None:
        """Begin anew."""
        self._count = 0

    def load(self, nodes: Ids, weights: Floats, returns: Floats) -> None:
        """Take over a kept trace. Three arrays of shape [steps]."""
        while len(self._nodes) < len(nodes):
            self._double()
        self._count = len(nodes)
        self._nodes[: self._count] = nodes
        self._weights[: self._count] = weights
        self._returns[: self._count] = returns

    def _double(self) -> None:
        self._nodes = np.concatenate([self._nodes, np.empty_like(self._nodes)])
        self._weights = np.concatenate([self._weights, np.empty_like(self._weights)])
        self._returns = np.concatenate([self._returns, np.empty_like(self._returns)])


def backward_returns(rewards: Floats, gamma: float) -> Floats:
    """Monte-Carlo returns of a closed trace: G_i = r_i + gamma G_(i+1). Shape [steps]."""
    returns = np.empty(len(rewards), np.float64)
    after = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        after = float(rewards[step]) + gamma * after
        returns[step] = after
    return returns.astype(np.float32)
