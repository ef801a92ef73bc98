"""One audit: fetch a contributor's opening, take its steps again, compare.

Bit for bit within a compute class; by the lengths of the parts across classes.

Flow over the worker and the transport. docs/protocol.md, "Audits".
"""

import asyncio
from dataclasses import dataclass, field

from node.errors import ConfigError, Malformed, PeerError, Unavailable, WorkerFailed
from node.exchange.across import strays
from node.exchange.auditing import Contribution, breach
from node.exchange.core import RoundContext
from node.identity import peer_id_of
from node.jobs.courier import Counters
from node.jobs.encoding import (
    ENCODE_S_PER_PARAM,
    Local,
    Replayable,
    data_seed,
    encode_update,
    local_hash,
    optimizer_hash,
)
from node.jobs.geometry import Geometry
from node.jobs.manifest import JobManifest
from node.jobs.opening import CHUNK_BYTES, decode_opening, opening_bytes_max
from node.jobs.progress import Audits
from node.jobs.shard import shard_of
from node.ledger.electorate import Electorate
from node.ports import Compute, FloatVector, ReplayReply, ReplayRequest, Transport, Worker
from node.types import Digest, PeerId
from node.wire.audit import Verdict, encode_opening_request

OPENING_METHOD = "opening/1"
TRIES = 3
"""Times that an opening is asked for."""
PAUSE_S = 1.0
IDLE_S_MAX = 10.0
OPENING_BYTES_PER_S_MIN = 1e6
"""Who opens more slowly does not open, 10 s aside."""
NEW_OPTIMIZER = optimizer_hash(b"")
"""Digest of the local state of a workload that has taken no step."""


@dataclass(frozen=True)
class Subject:
    """A contribution, and what its steps start from."""

    contribution: Contribution
    context: RoundContext
    """Of its round."""
    params: FloatVector
    """Of the state before the round. Shape [d]."""
    follows: bool | None
    """Whether its local memory follows from its last one; None: not known here."""


@dataclass
class Auditor:
    """Looks into contributions, one after the other.

    Args:
        manifest: of the job.
        founders: first electorate, which shards follow from.
        g: geometry of the job.
        worker: takes the steps again.
        compute: the maths lane.
        transport: fetches openings.
        counters: traffic of the job.
        shown: what status shows.
    """

    manifest: JobManifest
    founders: Electorate
    g: Geometry
    worker: Worker
    compute: Compute
    transport: Transport
    counters: Counters
    shown: Audits
    new: Digest = NEW_OPTIMIZER
    """Hash of a new local memory; set by ``start``."""
    _free: asyncio.Event = field(default_factory=asyncio.Event)
    _replaying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Before the first round."""
        self._free.set()
        self.new = await self._hash(b"", Local.new(self.g))

    def keep_worker(self) -> None:
        """The node's own training is about to begin: let no replay begin before it."""
        self._free.clear()

    async def take_worker(self) -> None:
        """The node's own training begins: wait for a replay that runs, and let no other begin."""
        self._free.clear()
        async with self._replaying:
            pass

    def give_worker(self) -> None:
        """The node's own training is over: replays may run."""
        self._free.set()

    async def audit(self, subject: Subject) -> tuple[Verdict, str]:
        """The verdict on one contribution, with its reason."""
        commitment = subject.contribution.commitment
        text = breach(commitment, self.manifest.round.steps, subject.follows)
        if text:
            return Verdict.BREACH, text
        if subject.follows is None:
            return Verdict.INCONCLUSIVE, "it is not known here what it must start from"
        local, optimizer = Local.new(self.g), b""
        if commitment.local_before != self.new:
            data = await self._fetch(subject)
            if data is None:
                return Verdict.NO_OPENING, "no opening"
            try:
                local, optimizer = decode_opening(self.g, data)
            except Malformed as error:
                return Verdict.NO_OPENING, str(error)
            if await self._hash(optimizer, local) != commitment.local_before:
                return Verdict.NO_OPENING, "an opening of another local memory"
        return await self._replay(subject, local, optimizer)

    async def _hash(self, optimizer: bytes, local: Local) -> Digest:
        return await self.compute.maths(
            lambda: local_hash(optimizer_hash(optimizer), local),
            cost_s=self.g.d * ENCODE_S_PER_PARAM,
        )

    async def _fetch(self, subject: Subject) -> bytes | None:
        """The opening of the contributor; None: it gives none."""
        peer = peer_id_of(subject.contribution.author)
        request = encode_opening_request(subject.context.job, subject.contribution.round)
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            try:
                return await self._stream(peer, request)
            except (TimeoutError, Unavailable, PeerError):
                continue
        return None

    async def _stream(self, peer: PeerId, request: bytes) -> bytes | None:
        """One answer; None: it is too long."""
        most = opening_bytes_max(self.g)
        chunks = self.transport.stream(
            peer, OPENING_METHOD, request, idle_timeout_s=IDLE_S_MAX, chunk_bytes_max=CHUNK_BYTES
        )
        data = bytearray()
        async with asyncio.timeout(IDLE_S_MAX + most / OPENING_BYTES_PER_S_MIN):
            async for chunk in chunks:
                data += chunk
                self.counters.bytes_down += len(chunk)
                if len(data) > most:
                    return None
        return bytes(data)

    async def _replay(
        self, subject: Subject, local: Local, optimizer: bytes
    ) -> tuple[Verdict, str]:
        contribution, prev = subject.contribution, subject.context.prev
        commitment, round_ = contribution.commitment, contribution.round
        author = peer_id_of(contribution.author)
        request = ReplayRequest(
            params=subject.params,
            round=round_,
            rounds=self.manifest.job.rounds,
            data_seed=data_seed(prev, author),
            steps=self.manifest.round.steps,
            steps_done=commitment.steps,
            local_state=optimizer,
            shard=shard_of(contribution.author, self.founders),
        )
        try:
            verdict, text, bits = await self._compare(subject, request, local)
            if (
                verdict is Verdict.MISMATCH
                and bits != (await self._compare(subject, request, local))[2]
            ):
                # A machine that errs must not accuse: an objection is what it finds twice.
                return Verdict.INCONCLUSIVE, "two replays differ"
        except (WorkerFailed, ConfigError) as error:
            return Verdict.INCONCLUSIVE, str(error)
        return verdict, text

    async def _compare(
        self, subject: Subject, request: ReplayRequest, local: Local
    ) -> tuple[Verdict, str, object]:
        """One replay: verdict, reason, and what tells its bits from those of another."""
        contribution, commitment = subject.contribution, subject.contribution.commitment
        reply = await self._in_turn(request)
        if reply is None:
            text = "no training reaches the local state that was opened"
            return Verdict.MISMATCH, text, None
        self.shown.steps += commitment.steps
        self.shown.seconds += reply.seconds
        around = optimizer_hash(request.local_state), reply.local_after
        again = await self.compute.maths(
            lambda: (
                encode_update(
                    self.g,
                    reply.update,
                    local,
                    round_=contribution.round,
                    peer=peer_id_of(contribution.author),
                    prev=subject.context.prev,
                    root=commitment.state_root,
                    steps=commitment.steps,
                    loss=0.0,
                    replayable=Replayable(*around, commitment.compute_class),
                ).commitment
            ),
            cost_s=self.g.d * ENCODE_S_PER_PARAM,
        )
        bits = again.parts, again.local_after
        own = self.worker.compute_class
        if not own or commitment.compute_class != own:
            if strays(commitment.parts, again.parts):
                return Verdict.FAR, "its steps give parts of another length", bits
            return Verdict.OTHER_CLASS, "another compute class", bits
        if again.parts != commitment.parts:
            return Verdict.MISMATCH, "its steps give other parts", bits
        if again.local_after != commitment.local_after:
            return Verdict.MISMATCH, "its steps leave another local memory", bits
        return Verdict.OK, "", bits

    async def _in_turn(self, request: ReplayRequest) -> ReplayReply | None:
        """Replay while the node's own training does not need the worker."""
        while True:
            await self._free.wait()
            async with self._replaying:
                if self._free.is_set():
                    return await self.worker.replay(request)
