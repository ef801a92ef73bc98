"""Who is answered when: the slots of one served method, without a task or a wait of their own.

The same rule as ``node.adapters.methods.Method``: at most ``concurrent_max`` calls at once, at most
half of them (rounded up) for one peer, the others in the order in which they came.
"""

from collections.abc import Callable

from node.adapters.methods import Method
from node.ports import Handler, StreamHandler
from node.types import PeerId


class Served(Method):
    """One served method; exactly one of the handlers is set."""

    def __init__(
        self,
        name: str,
        *,
        request_bytes_max: int,
        concurrent_max: int,
        unary: Handler | None = None,
        streamed: StreamHandler | None = None,
    ) -> None:
        super().__init__(
            name,
            request_bytes_max=request_bytes_max,
            concurrent_max=concurrent_max,
            unary=unary,
            streamed=streamed,
        )
        self._free = concurrent_max
        self._running: dict[PeerId, int] = {}
        self._queue: list[tuple[PeerId, Callable[[], None]]] = []

    def take(self, peer: PeerId, start: Callable[[], None]) -> None:
        """Call ``start`` once a call of ``peer`` has a slot: now, or when one is given back."""
        if self._free and self._running.get(peer, 0) < self._peer_max:
            self._start(peer, start)
        else:
            self._queue.append((peer, start))

    def give_up(self, start: Callable[[], None]) -> None:
        """Wait no more."""
        self._queue = [entry for entry in self._queue if entry[1] != start]

    def give_back(self, peer: PeerId) -> None:
        """A call of ``peer`` has ended; the first that may take its slot starts."""
        self._free += 1
        left = self._running[peer] - 1
        if left:
            self._running[peer] = left
        else:
            del self._running[peer]
        for index, (waiting, start) in enumerate(self._queue):
            if self._running.get(waiting, 0) < self._peer_max:
                del self._queue[index]
                self._start(waiting, start)
                return

    def _start(self, peer: PeerId, start: Callable[[], None]) -> None:
        self._free -= 1
        self._running[peer] = self._running.get(peer, 0) + 1
        start()
