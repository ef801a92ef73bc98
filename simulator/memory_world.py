"""A small world of shared memories and nothing else: many services on simulated links and disks.

Honest nodes are whole ``MemoryService``s. A liar is a transport and a key: tests give it what it
serves (``simulator/memory_liar.py``). Everything follows from the seed.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from node.errors import PeerError
from node.memory.config import MemoryPace, MemorySpec
from node.memory.feed import Change
from node.memory.methods import MemoryMethods
from node.memory.service import MemoryDeps, MemoryService
from node.merkle import digest
from node.types import Digest, JobId, PeerId
from node.wire.memory_messages import KeyType
from simulator.host.compute import SimCompute
from simulator.host.signer import KeyedSigner, verify
from simulator.host.store import SimStore
from simulator.seeds import rng
from simulator.wire.links import LinkModel
from simulator.wire.network import SimHost, SimNetwork
from workloads.api import Entries

JOB = JobId(digest("memory job", b"simulated"))
SMALL = MemorySpec(key_dims=4, entries_per_author=600, payload_bytes=1, batches_per_author=256)
POLL_S = 0.05


@dataclass
class MemoryNode:
    """One node over all its lives."""

    index: int
    signer: KeyedSigner
    store: SimStore
    service: MemoryService | None = None
    host: SimHost | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    blamed: list[tuple[PeerId, str]] = field(default_factory=list)
    """(peer, reason) of every score, over all lives."""
    taken: list[tuple[float, Change]] = field(default_factory=list)
    """(virtual seconds, change) that the consumer of this life was given."""
    made: int = 0
    """Entries appended over all lives."""

    @property
    def peer(self) -> PeerId:
        """Its id."""
        return self.signer.peer_id


class MemoryWorld:
    """Nodes 0 to n - 1, all of them authors, all peers of one another.

    Args:
        nodes: how many.
        seed: of every draw.
        spec: of the job.
        pace: of every node.
        link: how bytes travel.
        fsync_s: virtual seconds of a durable write.
    """

    def __init__(
        self,
        nodes: int,
        seed: int,
        *,
        spec: MemorySpec = SMALL,
        pace: MemoryPace | None = None,
        link: LinkModel | None = None,
        fsync_s: float = 0.004,
    ) -> None:
        self.seed = seed
        self.spec = spec
        self.pace = pace or MemoryPace()
        self.network = SimNetwork(seed, link, framed=False)
        self.nodes = [
            MemoryNode(index, KeyedSigner(digest("memory node", bytes([index]))), SimStore(fsync_s))
            for index in range(nodes)
        ]
        self.authors = [node.peer for node in self.nodes]
        self.peers = list(self.authors)
        """Whom every node takes for a node of the job; may be changed."""
        self.liars: set[int] = set()

    # Life --------------------------------------------------------------------------------------

    async def start(self, index: int, *, consume: bool = True) -> MemoryService:
        """Start a node, or start it again on its disk."""
        node = self.nodes[index]
        host = node.host = self.network.start(node.peer)
        store = node.store.open(node.peer)

        def blame(peer: PeerId, error: PeerError) -> None:
            node.blamed.append((peer, error.reason))

        service = node.service = MemoryService(
            JOB,
            self.authors,
            self.spec,
            MemoryDeps(
                transport=host.transport,
                store=store,
                compute=SimCompute(),
                signer=node.signer,
                verify=verify,
                peers=lambda: self.peers,
                rng=rng(self.seed, "memory", index, node.store.lives),
                on_blame=blame,
                may_append=not store.slots_lost,
            ),
            self.pace,
        )
        methods = MemoryMethods(blame)
        methods.add(service)
        methods.serve(host.transport)
        loop = asyncio.get_running_loop()
        node.tasks = [loop.create_task(service.run())]
        node.taken = []
        if consume:
            node.tasks.append(loop.create_task(self._consume(node, service)))
        await service.loaded.wait()
        return service

    async def crash(self, index: int) -> None:
        """Kill a node: its disk loses what was not synced, in part."""
        node = self.nodes[index]
        for task in node.tasks:
            task.cancel()
        await asyncio.gather(*node.tasks, return_exceptions=True)
        node.tasks, node.service, node.host = [], None, None
        await self.network.crash(node.peer)
        node.store.crash(rng(self.seed, "crash", index, node.store.lives))

    def lie(self, index: int) -> SimHost:
        """A host of this node's key that serves nothing yet; it is not judged."""
        self.liars.add(index)
        node = self.nodes[index]
        node.host = self.network.start(node.peer)
        return node.host

    async def close(self) -> None:
        """Stop all; a node that ended on its own is a failure.

        Raises:
            BaseException: what ended it.
        """
        for node in self.nodes:
            for task in node.tasks:
                if task.done():
                    task.result()
        for node in self.nodes:
            if node.service is not None:
                await self.crash(node.index)
        await self.network.close()

    async def _consume(self, node: MemoryNode, service: MemoryService) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(service.subscribe()) as changes:
            async for change in changes:
                node.taken.append((loop.time(), change))

    # What nodes do -----------------------------------------------------------------------------

    def entries(self, index: int, count: int) -> Entries:
        """Drawn entries whose values count up from the last ones of this node."""
        node, spec = self.nodes[index], self.spec
        draws = rng(self.seed, "entries", index, node.made)
        shape = (count, spec.key_dims)
        keys = draws.integers(-127, 128, shape).astype(np.int8)
        if spec.key_type is KeyType.FP16:
            keys = draws.standard_normal(shape).astype(np.float16)
        values = np.arange(node.made, node.made + count, dtype=np.float32)
        payload = draws.integers(0, 256, (count, spec.payload_bytes)).astype(np.uint8)
        return Entries(keys, values, payload, 0.01)

    async def append(self, index: int, count: int) -> None:
        """Let a node make entries."""
        node = self.nodes[index]
        assert node.service is not None
        entries = self.entries(index, count)
        await node.service.append(entries)
        node.made += count

    async def produce(self, index: int, count: int, pause_s: float, times: int) -> None:
        """Append ``count`` entries every ``pause_s``, ``times`` times."""
        for _ in range(times):
            await asyncio.sleep(pause_s)
            await self.append(index, count)

    # What is judged ----------------------------------------------------------------------------

    @property
    def honest(self) -> list[MemoryService]:
        """Services of the honest nodes that run."""
        return [n.service for n in self.nodes if n.service and n.index not in self.liars]

    def roots(self) -> list[Digest]:
        """Of the honest nodes that run."""
        return [service.root() for service in self.honest]

    def all_equal(self) -> bool:
        """Do all honest nodes hold the same?"""
        return len(set(self.roots())) == 1

    def blamed(self) -> set[PeerId]:
        """Whom honest nodes scored."""
        honest = [node for node in self.nodes if node.index not in self.liars]
        return {peer for node in honest for peer, _ in node.blamed}

    async def until(self, claim: Callable[[], bool], within_s: float) -> float:
        """Wait for ``claim``; virtual seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not claim():
            waited = loop.time() - began
            assert waited < within_s, [service.status() for service in self.honest]
            await asyncio.sleep(POLL_S)
        return loop.time() - began

    def partition(self, left: Sequence[int], right: Sequence[int]) -> None:
        """Let nothing pass between the two."""
        sides = [[self.nodes[i].peer for i in side] for side in (left, right)]
        self.network.partition(*sides)
