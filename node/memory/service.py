"""Shared memory of one job: takes own entries, pulls those of others, serves and tells.

Implements docs/protocol.md, "Shared memory". Pull only: a peer tells and asks what each holds
(``memory/1``), and is asked for what is missing (``batches/1``). Nothing comes that was not asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.errors import ConfigError, PeerError, Unavailable
from node.identity import Signer, Verifier
from node.ledger.frontier import frontier_of
from node.memory.batch import check_entries, make_batch
from node.memory.config import MemoryPace, MemorySpec
from node.memory.feed import Change, Feed
from node.memory.holding import Holding
from node.memory.peers import PeerTasks
from node.memory.serving import Serving
from node.ports import Compute, Store, Transport
from node.types import Digest, JobId, PeerId
from node.wire.memory_messages import (
    Batch,
    ForkEvidence,
    MemoryLine,
    MemoryReach,
    SignedHeader,
)
from workloads.api import Entries


@dataclass(frozen=True)
class MemoryDeps:
    """What a job's memory needs of its node."""

    transport: Transport
    store: Store
    compute: Compute
    signer: Signer
    verify: Verifier
    peers: Callable[[], Sequence[PeerId]]
    """Nodes of the job now; oneself among them is ignored."""
    rng: np.random.Generator
    """Chooses partners and spreads pauses."""
    on_blame: Callable[[PeerId, PeerError], None]
    on_fork: Callable[[ForkEvidence], Awaitable[None]] | None = None
    """Told of each new proof of a fork."""
    may_append: bool = True
    """False after the slot log was lost: what this node signed before is not known."""


@dataclass(frozen=True, slots=True)
class AuthorStatus:
    """Numbers of one author."""

    author: PeerId
    entries: int
    """Held."""
    made: int
    """By the author so far, evicted ones included."""
    batches: int
    """Held."""
    is_forked: bool


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """Numbers of one job's memory."""

    entries: int
    bytes: int
    authors: tuple[AuthorStatus, ...]
    lag: int
    """Entries that peers hold, as two of them say, and that are not here yet."""
    evidence: tuple[ForkEvidence, ...]
    waiting: int
    """Changes that the slowest consumer has not taken."""
    trouble: str
    """Why nothing is taken or made now; empty: nothing is wrong."""


class MemoryService:
    """The shared memory of one job on one node. ``run`` works until it is cancelled.

    Args:
        job: whose.
        authors: who may author; the same on all nodes of the job.
        spec: form of entries, and quotas; the same on all nodes.
        deps: the node.
        pace: rates and pauses of this node.
    """

    def __init__(
        self,
        job: JobId,
        authors: Iterable[PeerId],
        spec: MemorySpec,
        deps: MemoryDeps,
        pace: MemoryPace | None = None,
    ) -> None:
        self.job = job
        self.spec = spec
        self._pace = pace or MemoryPace()
        self._deps = deps
        self._own = deps.signer.peer_id
        self._feed = Feed(self._pace.queue_batches)
        self._holding = Holding(
            job, authors, spec, deps.store, deps.compute, deps.verify, self._feed
        )
        if deps.on_fork is not None:
            self._holding.on_fork = deps.on_fork
        self.serving = Serving(self._holding, self._pace)
        self._peers: PeerTasks | None = None
        self._signed = 0
        self.loaded = asyncio.Event()
        """What is on disk is held."""

    async def run(self) -> None:
        """Read what is stored, then keep up with peers until cancelled.

        Raises:
            Unavailable: the disk cannot be read.
        """
        await self._holding.load()
        self._signed = await self._holding.log.signed()
        deps = self._deps
        self._peers = PeerTasks(
            self._own,
            self._holding,
            deps.transport,
            deps.peers,
            deps.rng,
            self._pace,
            deps.on_blame,
        )
        self.serving.on_heard = self._peers.hear
        self.loaded.set()
        await self._peers.run()

    # Own entries -------------------------------------------------------------------------------

    async def append(self, entries: Entries) -> range:
        """Make own entries part of the memory; durable here when it returns, and told to peers.

        Args:
            entries: any number; cut into batches.

        Returns:
            Their indices among all entries of this author.

        Raises:
            ValueError: they are not of the job's form.
            ConfigError: this node is no author, or may sign nothing more.
            Unavailable: the disk takes nothing, or own batches that were lost here are not yet
                back from peers. Nothing was shown to anybody: try again.
        """
        check_entries(entries, self.spec)
        await self.loaded.wait()
        self._check_may_append()
        if not len(entries):
            end = self._holding.set.chain(self._own).end_entry
            return range(end, end)
        batches = await self._holding.append(self._own, lambda head: self._made(entries, head))
        self._signed = batches[-1].header.seq + 1
        return range(batches[0].header.first_entry, batches[-1].header.end_entry)

    def _made(self, entries: Entries, head: SignedHeader | None) -> Sequence[Batch]:
        self._check_may_append()
        most = self.spec.entries_per_batch
        batches: list[Batch] = []
        for start in range(0, len(entries), most):
            part = entries.part(start, start + most)
            batches.append(make_batch(part, head, self.job, self.spec, self._deps.signer))
            head = batches[-1].signed
        return batches

    def _check_may_append(self) -> None:
        if self._own not in self._holding.set:
            raise ConfigError("this node is no author of the job's memory")
        if reason := self._why_silent():
            raise ConfigError(reason)
        if self._holding.set.chain(self._own).next < self._signed:
            raise Unavailable("own batches were lost here and are not yet back from peers")

    def _why_silent(self) -> str:
        if not self._deps.may_append:
            return "the slot log was lost, so this key adds nothing more to shared memory"
        if self._own in self._holding.set and self._holding.set.chain(self._own).is_forked:
            return "two nodes run with this key, or it was restored from a copy: it is shut out"
        return ""

    # What is held ------------------------------------------------------------------------------

    async def subscribe(self) -> AsyncGenerator[Change, None]:
        """All that is held now (own batches too), then each change by others as it is taken in.

        One author's batches come in the order of its chain. A consumer that takes nothing stops the
        pull. Close the iterator (``contextlib.aclosing``) to end the subscription.
        """
        await self.loaded.wait()
        subscription = self._feed.open()
        try:
            async for change in self._holding.replay():
                yield change
            while True:
                yield await subscription.next()
        finally:
            subscription.close()

    def lines(self) -> Sequence[MemoryLine]:
        """What is held of each author: the vector that this node may sign into a round."""
        return self._holding.set.lines()

    def frontier(self) -> Mapping[PeerId, MemoryReach]:
        """How far each author is, as held here; forked authors are left out."""
        return {reach.author: reach for reach in frontier_of(self.lines())}

    def root(self) -> Digest:
        """Identity of the set: equal roots mean equal sets."""
        return self._holding.set.root()

    def evidence(self) -> Sequence[ForkEvidence]:
        """Proofs of forks."""
        return self._holding.set.evidence()

    def status(self) -> MemoryStatus:
        """Numbers for people."""
        held = self._holding.set
        chains = [held.chain(author) for author in held.authors]
        return MemoryStatus(
            entries=held.entries,
            bytes=held.bytes,
            authors=tuple(
                AuthorStatus(c.author, c.entries, c.end_entry, len(c), c.is_forked) for c in chains
            ),
            lag=self._peers.lag if self._peers else 0,
            evidence=tuple(held.evidence()),
            waiting=self._feed.waiting,
            trouble=self._holding.trouble or self._why_silent(),
        )
