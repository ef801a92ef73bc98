"""Own entries on their way out: each leaves when its value can change no more."""

import numpy as np

from workloads.recall.index import Ids


class Outbox:
    """Nodes visited and not yet exported, in order."""

    def __init__(self) -> None:
        self._visits: list[int] = []

    def __len__(self) -> int:
        return len(self._visits)

    def visit(self, node: int) -> None:
        """A step was remembered there."""
        self._visits.append(node)

    def take(self, open_visits: int, limit: int) -> Ids:
        """Nodes whose newest visit is final, each once, in order of that visit.

        Args:
            open_visits: Newest visits whose returns may still change.
            limit: Visits looked at, at least 1; the rest waits for the next call.
        """
        count = min(max(0, len(self._visits) - open_visits), limit)
        ready, self._visits = self._visits[:count], self._visits[count:]
        still_open = set(self._visits)
        newest = dict.fromkeys(reversed(ready))
        nodes = [node for node in reversed(newest) if node not in still_open]
        return np.array(nodes, np.int64)

    def renumber(self, moved: Ids) -> None:
        """Nodes have new numbers. Shape [nodes before]."""
        self._visits = [int(moved[node]) for node in self._visits]

    def dump(self) -> Ids:
        """The visits. Shape [visits]."""
        return np.array(self._visits, np.int64)

    def load(self, visits: Ids) -> None:
        """Take over what ``dump`` gave."""
        self._visits = visits.tolist()
