"""A job's shared memory at work: its worker goes on in slices, between which entries come and go.

Flow over ``MemoryService`` and the ``Worker`` port. Nobody waits for anybody: rounds only take note
of what is there. docs/protocol.md, "Shared memory".
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from node.errors import ConfigError, Unavailable
from node.identity import public_key_of
from node.jobs.deps import RunnerDeps
from node.jobs.inquiring import Inquiring
from node.jobs.scope import Scope
from node.memory.config import MemorySpec
from node.memory.feed import Change
from node.memory.service import MemoryDeps, MemoryService, MemoryStatus
from node.merkle import digest
from node.ports import AdvanceRequest, Arrived, Worker
from node.types import Digest, JobId, PeerId
from node.wire.memory_messages import KeyType, MemoryLine
from workloads.api import Entries, MemoryForm

SLICE_S = 0.25
"""Work between two looks at what arrived: own entries are out at most this late."""
SLICE_STEPS_MAX = 1 << 20
ARRIVED_PER_SLICE_MAX = 1000
"""Entries of others that a slice takes in, so that a node that joins late works soon."""
WAITING_CHANGES_MAX = 64
"""Changes that wait for the worker; then the pull slows down."""
UNSHARED_ENTRIES_MAX = 100_000
"""Own entries kept while the disk takes none; then the oldest go."""


class Remembering:
    """The shared memory of one job on one node.

    Args:
        deps: the node.
        job: whose memory.
        authors: who may author; the same on all nodes.
        form: of entries; the same on all nodes.
        worker: the job's.
        peers: nodes of the job now.
    """

    def __init__(
        self,
        deps: RunnerDeps,
        job: JobId,
        authors: Sequence[PeerId],
        form: MemoryForm,
        worker: Worker,
        peers: Callable[[], Sequence[PeerId]],
    ) -> None:
        self._deps = deps
        self._job = job
        self._worker = worker
        self._own = deps.signer.peer_id
        self._is_author = self._own in authors and deps.may_vote
        spec = MemorySpec(
            form.key_dims,
            KeyType[form.key_type.upper()],
            form.payload_bytes,
            entries_per_author=form.entries_per_author,
        )
        ports = deps.ports
        # Only spreads traffic in time.
        rng = np.random.default_rng(list(job + deps.signer.public_key))
        needs = MemoryDeps(
            ports.transport,
            ports.store,
            ports.compute,
            deps.signer,
            deps.verify,
            peers,
            rng,
            deps.on_blame,
            deps.proofs.add,
            may_append=deps.may_vote,
        )
        self._service = MemoryService(job, authors, spec, needs)
        self._inquiring: Inquiring | None = None
        if form.inquires:
            self._inquiring = Inquiring(
                ports.transport, job, self._own, authors, worker, deps.on_blame
            )
        self.steps = 0
        """Of this process."""
        self._seen = 0
        """Steps that earlier rounds took note of."""
        self._moved = asyncio.Event()
        self._arrived: deque[Change] = deque()
        self._arrival = asyncio.Event()
        self._room = asyncio.Event()
        self._regained = 0
        """Own entries of earlier lives that the worker was given, by number."""
        self._unshared: deque[Entries] = deque()
        self._going = True
        self._waiting = False
        self._unshared_why = ""
        """Why own entries are not shared; empty: they are."""

    # Told to rounds and people -----------------------------------------------------------------

    def lines(self) -> tuple[MemoryLine, ...]:
        """What is held, as a commitment says it: without authors of whom nothing is."""
        held = [line for line in self._service.lines() if line.next or line.forked]
        return tuple(sorted(held, key=lambda line: public_key_of(line.author)))

    def root(self) -> Digest:
        """Identity of what is held."""
        return self._service.root()

    def status(self) -> MemoryStatus:
        """Numbers for people."""
        return self._service.status()

    @property
    def trouble(self) -> str:
        """Why nothing is taken in, or own entries are not shared; empty: nothing is wrong."""
        return self._unshared_why or self._service.status().trouble

    async def progress(self, steps: int, within_s: float) -> None:
        """Wait until the worker has taken ``steps`` more since the last call, or ``within_s``.

        One that has nothing to do is not waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._moving and self.steps < self._seen + steps:
                    self._moved.clear()
                    await self._moved.wait()
        self._seen = self.steps

    @property
    def _moving(self) -> bool:
        return self._going and not self._waiting

    # Work --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. After ``finish`` the memory is still kept and served."""
        self._deps.memories.add(self._service)
        try:
            async with Scope() as group:
                if self._inquiring is not None:
                    await self._inquiring.meet()
                    self._deps.memories.add_answers(self._job, self._inquiring.answer)
                    group.create_task(self._inquiring.run(), name="memory-inquiries")
                group.create_task(self._service.run(), name="memory")
                if self._is_author:
                    group.create_task(self._collect(), name="memory-arrivals")
                    group.create_task(self._work(), name="memory-work")
        finally:
            self._deps.memories.remove(self._job)

    def finish(self) -> None:
        """Take no more steps."""
        self._going = False
        self._moved.set()

    async def _collect(self) -> None:
        """Bring what others add to where the next slice finds it."""
        async with contextlib.aclosing(self._service.subscribe()) as changes:
            async for change in changes:
                while len(self._arrived) >= WAITING_CHANGES_MAX:
                    self._room.clear()
                    await self._room.wait()
                self._arrived.append(change)
                self._arrival.set()

    async def _work(self) -> None:
        await self._service.loaded.wait()
        # Another seed in each life: the same one would only live through the same again.
        made = next((line.entries for line in self.lines() if line.author == self._own), 0)
        life = self._job + self._own.encode() + made.to_bytes(8, "big")
        seed = digest("memory worker", life)
        while self._regained < made:  # first remember oneself
            await self._take_in(seed)
        while self._going:
            request = AdvanceRequest(self._taken(), SLICE_STEPS_MAX, SLICE_S, seed)
            reply = await self._worker.advance(request)
            self.steps += reply.steps
            self._moved.set()
            if len(reply.entries):
                self._unshared.append(reply.entries)
            await self._share()
            if reply.waiting and not self._unshared:
                await self._wait()
        while True:  # what others still add is taken in, or their batches would wait for ever
            await self._take_in(seed)

    async def _wait(self) -> None:
        """The worker has nothing to do until something arrives; no round waits for it meanwhile."""
        self._waiting = True
        self._moved.set()
        await self._arrival.wait()
        self._waiting = False

    async def _take_in(self, seed: bytes) -> None:
        """Give the worker what arrived, and no step; wait for something to arrive."""
        await self._arrival.wait()
        await self._worker.advance(AdvanceRequest(self._taken(), 0, 0.0, seed))

    def _taken(self) -> list[Arrived]:
        """What the next slice takes in."""
        taken: list[Arrived] = []
        count = 0
        while self._arrived and count < ARRIVED_PER_SLICE_MAX:
            change = self._arrived.popleft()
            author: str = change.author
            if author == self._own and change.batch is not None:
                author, self._regained = "", change.batch.header.end_entry
            entries = change.entries if change.batch is not None else None
            count += len(entries) if entries is not None else 0
            taken.append(Arrived(author, entries))
        self._room.set()
        if not self._arrived:
            self._arrival.clear()
        return taken

    async def _share(self) -> None:
        """Append what the worker made; what cannot be kept now is tried again with the next."""
        try:
            while self._unshared:
                await self._service.append(self._unshared[0])
                self._unshared.popleft()
            self._unshared_why = ""
        except Unavailable as error:
            self._unshared_why = str(error)
            while sum(map(len, self._unshared)) > UNSHARED_ENTRIES_MAX:
                self._unshared.popleft()
        except ConfigError as error:  # shut out for good: go on alone
            self._unshared_why = str(error)
            self._unshared.clear()


def remember(
    deps: RunnerDeps,
    job: JobId,
    authors: Sequence[PeerId],
    worker: Worker,
    peers: Callable[[], Sequence[PeerId]],
) -> Remembering | None:
    """The shared memory of a job; None if its workload has none. Arguments: see ``Remembering``."""
    form = worker.memory
    return None if form is None else Remembering(deps, job, authors, form, worker, peers)
