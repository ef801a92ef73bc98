"""One request for batches to one peer: ask, check, store, take.

Flow. What is wrong with a batch ends the stream and is scored; what was right before it is kept.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from node.errors import Equivocation, PeerError, Refused, Unavailable
from node.memory.config import MemoryPace
from node.memory.holding import Encoded, Holding
from node.memory.intake import Intake, Step, at_fault
from node.memory.planning import PeerState, Planner
from node.ports import Transport
from node.types import PeerId
from node.wire.convert_memory import decode_batch, encode_batches_request
from node.wire.limits import BATCH_BYTES_MAX
from node.wire.memory_messages import BatchesRequest, BatchWant, ForkEvidence

METHOD = "batches/1"
GROUP_BYTES = 1 << 20
"""Batches that are stored in one write."""
GROUP_S = 0.05
"""The first of a group waits no longer than that for the others."""


@dataclass
class Puller:
    """Asks peers for batches."""

    holding: Holding
    planner: Planner
    transport: Transport
    pace: MemoryPace
    on_blame: Callable[[PeerId, PeerError], None]

    async def pull(self, peer: PeerId, state: PeerState, wants: Sequence[BatchWant]) -> None:
        """Ask ``peer`` for ``wants``; how it went is noted in ``state``."""
        loop = asyncio.get_running_loop()
        self.planner.began(peer, wants, loop.time())
        pull = _Pull(self, peer, wants)
        try:
            await pull.run()
        finally:
            if pull.is_wrong or not pull.fresh:
                state.failed(loop.time(), self.pace, is_bad=pull.is_wrong)
            else:
                state.worked()
            pull.report(state)
            if self.planner.ended(peer, state) and not state.failures:
                state.failed(loop.time(), self.pace, is_bad=True)

    async def fork(self, evidence: ForkEvidence) -> None:
        """Take checked evidence, and score the author once."""
        if await self.holding.fork(evidence):
            author = evidence.author
            self.on_blame(author, Equivocation("two batches in one place", author))


@dataclass
class _Pull:
    puller: Puller
    peer: PeerId
    wants: Sequence[BatchWant]
    group: list[Encoded] = field(default_factory=list)
    group_bytes: int = 0
    group_since: float = 0.0
    fresh: int = 0
    """Batches that were new."""
    is_wrong: bool = False
    """It sent something that it must not send."""
    _first_at: float = 0.0
    _after_first: int = 0
    _last_at: float = 0.0

    async def run(self) -> None:
        """Ask, and take what comes."""
        holding, pace = self.puller.holding, self.puller.pace
        intake = Intake(holding.job, holding.set, holding.verify, self.peer, self.wants)
        request = encode_batches_request(BatchesRequest(holding.job, tuple(self.wants)))
        stream = self.puller.transport.stream(
            self.peer,
            METHOD,
            request,
            idle_timeout_s=pace.idle_timeout_s,
            chunk_bytes_max=BATCH_BYTES_MAX,
        )
        try:
            async with aclosing(stream) as chunks:  # type: ignore[type-var]
                async for data in chunks:
                    self._clock(len(data))
                    await self._take(intake, data)
                    if self.is_wrong:
                        break
        except (Unavailable, Refused):
            pass  # What came before is kept.
        except PeerError as error:
            self._blame(error)
        with suppress(Unavailable):
            await self._flush()

    def _clock(self, size: int) -> None:
        self._last_at = asyncio.get_running_loop().time()
        if self._first_at:
            self._after_first += size
        else:
            self._first_at = self._last_at

    def report(self, state: PeerState) -> None:
        """Note how fast the peer sent."""
        state.moved(self._after_first, self._last_at - self._first_at)

    def _blame(self, error: PeerError, author: PeerId | None = None) -> None:
        self.is_wrong = True
        for peer in at_fault(error, self.peer, author):
            self.puller.on_blame(peer, error)

    async def _take(self, intake: Intake, data: bytes) -> None:
        """One chunk."""
        loop = asyncio.get_running_loop()
        batch = decode_batch(data)
        author = batch.header.author
        try:
            outcome = intake.take(batch, len(data))
        except PeerError as error:
            self._blame(error, author)
            return
        is_fresh = outcome.step is not Step.SKIP
        self.fresh += is_fresh
        self.puller.planner.received(
            self.peer, batch.header, len(data), fresh=is_fresh, now=loop.time()
        )
        if outcome.step is Step.APPEND:
            if not self.group:
                self.group_since = loop.time()
            self.group.append((batch, data))
            self.group_bytes += len(data)
        elif outcome.step is Step.JUMP:
            await self._flush()
            await self.puller.holding.jump(author)
        elif outcome.evidence is not None:
            await self._flush()
            await self.puller.fork(outcome.evidence)
        if self.group_bytes >= GROUP_BYTES or (
            self.group and loop.time() - self.group_since > GROUP_S
        ):
            await self._flush()
            await self.puller.holding.feed.room()

    async def _flush(self) -> None:
        group, self.group, self.group_bytes = self.group, [], 0
        if not group:
            return
        try:
            await self.puller.holding.accept(group)
        except Unavailable:
            self.fresh = 0  # the disk takes nothing: no reason to ask again at once
            raise
