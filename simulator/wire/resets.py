"""Streams that break in mid-stream, by themselves or on demand: both ends learn of it at once.

Modelled: a Poisson process for each pair of hosts while a stream joins them, from the pair's own
random stream; all that is under way is lost. Left out: one end that breaks before the other.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np

from node.types import PeerId

Pair = tuple[PeerId, PeerId]


class Breakable(Protocol):
    """A stream between two hosts, seen from either end."""

    def reset(self) -> None:
        """Break both ends; lose what is under way."""
        ...


def pair_of(one: PeerId, other: PeerId) -> Pair:
    """The pair, whichever comes first."""
    return (one, other) if one < other else (other, one)


class Resets:
    """The live streams of every pair, and when the next one breaks.

    Args:
        rate: Of a pair, in resets per second, now.
        rng: Makes the random stream of a purpose and a pair.
    """

    def __init__(
        self,
        rate: Callable[[Pair], float],
        rng: Callable[[str, PeerId, PeerId], np.random.Generator],
    ) -> None:
        self._rate = rate
        self._rng = rng
        self._rngs: dict[Pair, np.random.Generator] = {}
        self._live: dict[Pair, dict[Breakable, None]] = {}
        self._timers: dict[Pair, asyncio.TimerHandle] = {}

    def opened(self, pair: Pair, stream: Breakable) -> None:
        """A stream joins the pair."""
        self._live.setdefault(pair, {})[stream] = None
        if pair not in self._timers:
            self.arm(pair)

    def closed(self, pair: Pair, stream: Breakable) -> None:
        """It is gone; a stream that is not known is ignored."""
        live = self._live.get(pair, {})
        live.pop(stream, None)
        if not live:
            self._live.pop(pair, None)
            self._disarm(pair)

    def reset(self, pair: Pair) -> None:
        """Break every stream of the pair."""
        for stream in list(self._live.get(pair, ())):
            stream.reset()

    def arm(self, pair: Pair) -> None:
        """Draw when the pair's streams break next: its rate is new, or it was just joined."""
        self._disarm(pair)
        rate = self._rate(pair)
        if rate and pair in self._live:
            if pair not in self._rngs:
                self._rngs[pair] = self._rng("reset", *pair)
            pause_s = float(self._rngs[pair].exponential(1.0 / rate))
            loop = asyncio.get_running_loop()
            self._timers[pair] = loop.call_later(pause_s, self._strike, pair)

    def _disarm(self, pair: Pair) -> None:
        timer = self._timers.pop(pair, None)
        if timer is not None:
            timer.cancel()

    def _strike(self, pair: Pair) -> None:
        del self._timers[pair]
        self.reset(pair)
        self.arm(pair)
