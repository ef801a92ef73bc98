"""How bytes travel between two hosts: delay, loss, access lines. Each direction on its own.

Modelled: a fixed latency with uniform jitter and a log-normal tail; the rate of a pair's stream;
an access line per host and direction that all its streams share, as a fluid queue (first come,
first served, no packets: the last byte of what was queued at ``now`` leaves ``bytes / rate`` after
the line was last busy). A message flows through the lines as it arrives, it is not stored first.
Loss is silence for good: what TCP would send again until it arrives is left out, and so are slow
start, congestion inside the network, fair shares between streams, and changes of route.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from node.types import PeerId
from simulator.scenario import LinkSection
from simulator.wire.cuts import Cuts

UNLIMITED_BYTES_PER_S = 1e12
"""From here on a rate takes no time."""


@dataclass(frozen=True)
class LinkModel:
    """How bytes travel from one host to another; see ``scenario.LinkSection`` for each field."""

    latency_s: float = 0.02
    jitter_s: float = 0.0
    tail: float = 0.0
    bytes_per_s: float = float("inf")
    """Rate of one stream."""
    loss_rate: float = 0.0
    duplicate_rate: float = 0.0
    reset_per_s: float = 0.0

    @classmethod
    def of(cls, section: LinkSection) -> "LinkModel":
        """The model that a scenario writes down."""
        return cls(
            section.latency_s,
            section.jitter_s,
            section.tail,
            section.stream_bytes_per_s,
            section.loss_rate,
            section.duplicate_rate,
            section.reset_per_s,
        )

    def delay_s(self, rng: np.random.Generator) -> float:
        """Time from the end of sending to arrival."""
        delay = self.latency_s
        if self.tail:
            delay *= float(np.exp(self.tail * rng.standard_normal()))
        return delay + (self.jitter_s * rng.random() if self.jitter_s else 0.0)

    def loses(self, rng: np.random.Generator) -> bool:
        """Is the next message lost?"""
        return bool(self.loss_rate and rng.random() < self.loss_rate)

    def duplicates(self, rng: np.random.Generator) -> bool:
        """Is the next request handled twice?"""
        return bool(self.duplicate_rate and rng.random() < self.duplicate_rate)


class Line:
    """A line of a fixed rate with a queue; bytes leave in the order in which they were booked.

    What is urgent waits only for what else is urgent: where a large message is not cut into frames,
    a small one passes it, as it does between the frames of a real stream.
    """

    __slots__ = ("_busy_until", "_urgent_until", "bytes_per_s")

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._busy_until = self._urgent_until = 0.0

    def book(self, now: float, size: int, urgent: bool = False) -> float:
        """When the last of ``size`` bytes has left."""
        took_s = size / self.bytes_per_s
        self._busy_until = max(self._busy_until, now) + took_s
        if not urgent:
            return self._busy_until
        self._urgent_until = max(self._urgent_until, now) + took_s
        return self._urgent_until


def line(bytes_per_s: float) -> Line | None:
    """A line of this rate; None: it takes no time."""
    return Line(bytes_per_s) if bytes_per_s < UNLIMITED_BYTES_PER_S else None


class Path:
    """One direction between two hosts, as it is now. The network makes one for each pair.

    Args:
        source: Who sends.
        target: Who receives.
        model: How bytes travel.
        up: Access line of the source.
        down: Access line of the target.
        cuts: Of the network.
        rng: Makes the path's random stream, once it is needed.
    """

    __slots__ = (
        "_cuts_seen", "_down", "_duplicate_rng", "_is_cut", "_loop", "_new_rng", "_paced", "_rng",
        "_stream", "_up", "cuts", "model", "source", "target",
    )  # fmt: skip

    def __init__(
        self,
        source: PeerId,
        target: PeerId,
        model: LinkModel,
        up: Line | None,
        down: Line | None,
        cuts: Cuts,
        rng: Callable[[str, PeerId, PeerId], np.random.Generator],
    ) -> None:
        self.source = source
        self.target = target
        self.cuts = cuts
        self._up = up
        self._down = down
        self._loop = asyncio.get_running_loop()
        self._new_rng = rng
        self._rng: np.random.Generator | None = None
        self._duplicate_rng: np.random.Generator | None = None
        self._cuts_seen = -1
        self._is_cut = False
        self.use(model)

    def use(self, model: LinkModel) -> None:
        """Change the model, for what is sent from now on."""
        self.model = model
        self._stream = line(model.bytes_per_s)
        self._paced = self._stream is not None or self._up is not None

    @property
    def is_cut(self) -> bool:
        """Does nothing pass?"""
        if self._cuts_seen != self.cuts.version:
            self._cuts_seen = self.cuts.version
            self._is_cut = self.cuts.covers(self.source, self.target)
        return self._is_cut

    @property
    def rng(self) -> np.random.Generator:
        """Draws delays and losses."""
        if self._rng is None:
            self._rng = self._new_rng("link", self.source, self.target)
        return self._rng

    def delay_s(self) -> float:
        """Draw how long a byte is under way."""
        model = self.model
        return model.delay_s(self.rng) if model.jitter_s or model.tail else model.latency_s

    def loses(self) -> bool:
        """Draw whether the next message is lost."""
        return bool(self.model.loss_rate) and self.model.loses(self.rng)

    def duplicates(self) -> bool:
        """Draw whether the next request is handled twice."""
        if not self.model.duplicate_rate:
            return False
        if self._duplicate_rng is None:
            self._duplicate_rng = self._new_rng("duplicate", self.source, self.target)
        return self.model.duplicates(self._duplicate_rng)

    def carry(self, size: int, urgent: bool, act: Callable[..., object], *args: Any) -> float:
        """Call ``act(*args)`` when ``size`` bytes have arrived; each message has its own delay.

        Args:
            size: Of the message, in bytes.
            urgent: See ``Line``.
            act: Is called whatever is cut or lost: ask first.
            args: Of ``act``.

        Returns:
            When the last byte leaves the source.
        """
        loop = self._loop
        now = loop.time()
        if not self._paced and self._down is None:
            loop.call_at(now + self.delay_s(), act, *args)
            return now
        first, sent = self._send(now, size, urgent)
        delay = self.delay_s()
        if self._down is None:
            loop.call_at(sent + delay, act, *args)
        else:
            loop.call_at(first + delay, self._land, size, urgent, sent + delay, act, args)
        return sent

    def _send(self, now: float, size: int, urgent: bool) -> tuple[float, float]:
        """When the first and the last byte leave."""
        sent, slowest = now, UNLIMITED_BYTES_PER_S
        for part in (self._stream, self._up):
            if part is not None:
                sent = max(sent, part.book(now, size, urgent))
                slowest = min(slowest, part.bytes_per_s)
        return max(now, sent - size / slowest), sent

    def _land(
        self, size: int, urgent: bool, last: float, act: Callable[..., object], args: Any
    ) -> None:
        """The first byte reaches the target's access line; the last does so at ``last``."""
        assert self._down is not None
        loop = self._loop
        loop.call_at(max(last, self._down.book(loop.time(), size, urgent)), act, *args)


class Lane:
    """Messages over one path that arrive in the order in which they were sent, as in a stream."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._flight: deque[tuple[Callable[..., object], Any]] = deque()
        self._landing: deque[tuple[int, float, Callable[..., object], Any]] = deque()
        self._first = self._last = 0.0

    def carry(self, size: int, act: Callable[..., object], *args: Any) -> float:
        """As ``Path.carry``, but not before what was sent before."""
        loop = asyncio.get_running_loop()
        path = self._path
        first, sent = path._send(loop.time(), size, False)
        delay = path.delay_s()
        # Timers of one instant fire in any order: each takes what is first.
        if path._down is None:
            self._arrive_at(sent + delay, act, args)
        else:
            self._landing.append((size, sent + delay, act, args))
            self._first = max(self._first, first + delay)
            loop.call_at(self._first, self._land)
        return sent

    def clear(self) -> None:
        """Lose what is under way."""
        self._flight.clear()
        self._landing.clear()

    def _land(self) -> None:
        if self._landing:
            size, last, act, args = self._landing.popleft()
            down = self._path._down
            assert down is not None
            now = asyncio.get_running_loop().time()
            self._arrive_at(max(last, down.book(now, size)), act, args)

    def _arrive_at(self, at: float, act: Callable[..., object], args: Any) -> None:
        self._flight.append((act, args))
        self._last = max(self._last, at)
        asyncio.get_running_loop().call_at(self._last, self._arrive)

    def _arrive(self) -> None:
        if self._flight:
            act, args = self._flight.popleft()
            act(*args)
