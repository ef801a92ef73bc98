"""The peers that a transport has streams with, or had, or may dial: few of one address range."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from node.adapters.limits import Limits
from node.adapters.link import Link
from node.errors import Unavailable
from node.ranges import Ranges
from node.types import PeerId


@dataclass
class Neighbour:
    """What we remember of a peer."""

    addresses: tuple[str, ...] = ()
    seen_at: str = ""
    links: list[Link] = field(default_factory=list)
    dialling: "asyncio.Task[Unavailable | None] | None" = None
    handshakes: int = 0
    failures: int = 0
    retry_at: float = 0.0
    sent: int = 0
    received: int = 0

    @property
    def came(self) -> bool:
        """Whether it holds a stream that it opened to us."""
        return any(not link.dialled and not link.lost for link in self.links)

    @property
    def idle(self) -> bool:
        """Whether nothing is open with it."""
        return not self.links and self.dialling is None and not self.handshakes


class Neighbours(dict[PeerId, Neighbour]):
    """What is remembered of each, and whether there is room for more.

    Args:
        limits: how many streams, and how many peers.
        ranges: how many peers of one address range may open streams to us.
        is_spared: whether a peer may, however many do.
    """

    def __init__(self, limits: Limits, ranges: Ranges, is_spared: Callable[[PeerId], bool]) -> None:
        super().__init__()
        self._limits = limits
        self._ranges = ranges
        self._is_spared = is_spared

    def of(self, peer: PeerId) -> Neighbour:
        """What is remembered of a peer; an idle one makes room for a new one."""
        state = self.get(peer)
        if state is None:
            if len(self) >= self._limits.peers_max:
                idle = next((p for p, s in self.items() if s.idle), None)
                if idle is not None:
                    del self[idle]
            state = self[peer] = Neighbour()
        return state

    def are_full(self) -> bool:
        """Whether there are as many streams as there may be."""
        return sum(len(state.links) for state in self.values()) >= self._limits.links_max

    def crowd_out(self, peer: PeerId, seen_at: str) -> bool:
        """Whether others of the range that a caller comes from leave it no room.

        Streams that we opened ourselves count for nobody: those peers we chose.
        """
        if not seen_at or self.of(peer).came or self._is_spared(peer):
            return False
        ranges = self._ranges
        came = (s.seen_at for p, s in self.items() if s.came and not self._is_spared(p))
        return (
            ranges.full(ranges.of((seen_at,)), (ranges.of((at,)) for at in came if at)) is not None
        )
