"""Audits of one job: open one's own local memory, replay others' steps, tell and count findings.

Flow. Who is drawn, and what convicts, is in ``exchange.auditing``. A replay uses the worker while a
round exchanges; one that is not done when the next round starts ends first.
docs/protocol.md, "Audits".
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from node.errors import (
    BadSignature,
    ConfigError,
    FalseWork,
    Malformed,
    PeerError,
    Refused,
    Unavailable,
    WorkerFailed,
)
from node.exchange.auditing import (
    CASES_KEPT_ROUNDS,
    OBJECTIONS,
    Case,
    Contribution,
    History,
    Tally,
    breach,
    contributions,
    first_auditor,
    is_drawn,
)
from node.exchange.core import RoundContext
from node.identity import peer_id_of, public_key_of
from node.jobs.courier import Counters
from node.jobs.deps import RunnerDeps
from node.jobs.geometry import Geometry, shard_of
from node.jobs.manifest import JobManifest
from node.jobs.opening import CHUNK_BYTES, decode_opening, opening_bytes_max, opening_chunks
from node.jobs.progress import Audits
from node.jobs.work import Local, Replayable, encode_update, local_hash
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.ports import FloatVector, ReplayRequest, Worker
from node.types import Digest, JobId, PeerId
from node.wire.audit import (
    KIND,
    Finding,
    Verdict,
    decode_finding,
    encode_finding,
    encode_opening_request,
    encode_signed_finding,
)
from node.wire.messages import Commitment, Decision, Signed

OPENING_METHOD = "opening/1"
FINDING_METHOD = "finding/1"
PARAMS_MAX = 1 << 23
"""Parameters of the largest job that is audited: its openings have up to 200 MB."""
TRIES = 3
"""Times that an opening is asked for."""
PAUSE_S = 1.0
IDLE_S_MAX = 10.0
OPENING_BYTES_PER_S_MIN = 1e6
"""Who opens more slowly does not open, 10 s aside."""
TELL_TRIES = 24
"""Times that a finding is sent to an elector that does not take it: over half a minute."""
OPENINGS_A_PEER = 2
"""Times that one elector is given the same opening."""
S_PER_PARAM = 5e-9
"""Cost of hashing and encoding one parameter, in seconds, for the simulator."""


def is_auditable(manifest: JobManifest, g: Geometry, worker: Worker) -> bool:
    """Whether contributions of a job can be audited: the same on all its nodes."""
    return manifest.audit.rate > 0 and worker.replayable and g.d <= PARAMS_MAX


@dataclass(frozen=True)
class Closed:
    """A round that was certified here, and what an audit of it needs."""

    context: RoundContext
    decision: Decision
    decision_id: Digest
    params: FloatVector
    """Of the state before the round. Shape [d]."""
    opened: dict[Digest, Commitment]
    """Commitment id -> commitment, of those that were seen."""
    local: Local
    """Ours before the round."""
    after_skip: bool
    """The round before it was a SKIP."""


@dataclass
class _Open:
    """A case that this node may have to look into."""

    case: Case
    closed: Closed
    follows: bool | None
    is_done: bool = False


@dataclass
class _Kept:
    """Our own local memory from before a round that was drawn."""

    electorate: Electorate
    local: Local
    optimizer: "asyncio.Task[bytes | None]"
    given: dict[PeerId, int] = field(default_factory=dict)


class Auditing:
    """Audits of one job on one node; does nothing where the job is not auditable.

    Args:
        deps: the node.
        job: its id.
        manifest: its manifest.
        founders: its first electorate, which shards follow from.
        g: its geometry.
        worker: its worker.
        group: owns the tasks.
        counters: traffic of the job.
        shown: what status shows.
        may_sign: whether this node may sign findings.
    """

    def __init__(
        self,
        deps: RunnerDeps,
        job: JobId,
        manifest: JobManifest,
        founders: Electorate,
        g: Geometry,
        worker: Worker,
        group: asyncio.TaskGroup,
        counters: Counters,
        shown: Audits,
        may_sign: bool,
    ) -> None:
        self.is_on = is_auditable(manifest, g, worker)
        self.tally = Tally()
        self._deps = deps
        self._job = job
        self._manifest = manifest
        self._founders = founders
        self._g = g
        self._worker = worker
        self._group = group
        self._counters = counters
        self._shown = shown
        self._may_sign = may_sign
        self._own = deps.signer.public_key
        self._history = History()
        self._new = Digest(b"")
        """Hash of a new local memory."""
        self._round = 0
        self._kept: dict[int, _Kept] = {}
        self._open: dict[Digest, _Open] = {}
        self._queue: asyncio.Queue[_Open] = asyncio.Queue()
        """Bounded by the open cases: each is queued once."""
        self._free = asyncio.Event()
        self._free.set()
        self._replaying = asyncio.Lock()

    # The worker --------------------------------------------------------------------------------

    async def take_worker(self) -> None:
        """The node's own training begins: wait for a replay that runs, and let no other begin."""
        self._free.clear()
        async with self._replaying:
            pass

    def give_worker(self) -> None:
        """The node's own training is over: replays may run."""
        self._free.set()

    # Rounds ------------------------------------------------------------------------------------

    async def start(self, round_: int) -> None:
        """Before the first round of this life.

        Args:
            round_: the last one that was certified.
        """
        self._new = await self._hash(digest("local optimizer", b""), Local.new(self._g))
        if round_:
            self.missed(round_)

    def missed(self, round_: int) -> None:
        """Rounds up to ``round_`` were certified, and not seen here."""
        self._round = round_
        self._history.missed()

    def closed(self, closed: Closed) -> None:
        """A round was certified: draw, keep what we may have to open, look into what is ours."""
        if not self.is_on:
            return
        decision, electorate = closed.decision, closed.context.electorate
        self._round = decision.round
        self._forget(decision.round - CASES_KEPT_ROUNDS)
        if not decision.skip and not closed.after_skip:
            plan = contributions(decision, electorate, closed.opened)
            for each in plan:
                if is_drawn(closed.decision_id, each.commitment_id, self._manifest.audit.rate):
                    self._draw(closed, each, plan)
        if not decision.skip:
            self._history.note(decision, electorate, closed.opened, closed.after_skip)

    def _draw(self, closed: Closed, drawn: Contribution, plan: Sequence[Contribution]) -> None:
        first = first_auditor(closed.decision_id, drawn, plan)
        if first is None:
            return
        case = Case(drawn, closed.decision_id, closed.context.electorate, first)
        self.tally.open(case)
        if drawn.author == self._own:
            optimizer = self._group.create_task(self._opened(drawn.round))
            self._kept[drawn.round] = _Kept(case.electorate, closed.local, optimizer)
            return
        before = drawn.commitment.local_before
        follows = self._history.follows(drawn.author, before, self._new)
        open_ = self._open[drawn.commitment_id] = _Open(case, closed, follows)
        if first == self._own:
            self._look_into(open_)

    def _forget(self, before: int) -> None:
        for round_ in [r for r in self._kept if r < before]:
            self._kept.pop(round_).optimizer.cancel()
        for id_ in [i for i, o in self._open.items() if o.case.contribution.round < before]:
            del self._open[id_]

    def _look_into(self, open_: _Open) -> None:
        if not open_.is_done and self._may_sign:
            open_.is_done = True
            self._queue.put_nowait(open_)

    # Opening -----------------------------------------------------------------------------------

    async def _opened(self, round_: int) -> bytes | None:
        try:
            return await self._worker.opening(round_)
        except WorkerFailed:
            return None  # told by the next round

    async def opening(self, peer: PeerId, round_: int) -> AsyncIterator[bytes]:
        """Reply of "opening/1".

        Raises:
            Refused: the round was not drawn, it is too long ago, or the caller may not ask.
        """
        kept = self._kept.get(round_)
        if kept is None or kept.electorate.index(public_key_of(peer)) is None:
            raise Refused("nothing of this round is open to you")
        count = kept.given[peer] = kept.given.get(peer, 0) + 1
        optimizer = await kept.optimizer if count <= OPENINGS_A_PEER + TRIES else None
        if optimizer is None:
            raise Refused("the local memory of this round is lost, or you had it")
        for chunk in opening_chunks(self._g, kept.local, optimizer):
            self._counters.bytes_up += len(chunk)
            self._shown.bytes_opened += len(chunk)
            yield chunk

    async def _fetch(self, peer: PeerId, round_: int) -> bytes | None:
        """The opening of a peer; None: it gives none."""
        most = opening_bytes_max(self._g)
        request = encode_opening_request(self._job, round_)
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            data = bytearray()
            chunks = self._deps.ports.transport.stream(
                peer,
                OPENING_METHOD,
                request,
                idle_timeout_s=IDLE_S_MAX,
                chunk_bytes_max=CHUNK_BYTES,
            )
            try:
                async with asyncio.timeout(IDLE_S_MAX + most / OPENING_BYTES_PER_S_MIN):
                    async for chunk in chunks:
                        data += chunk
                        self._counters.bytes_down += len(chunk)
                        if len(data) > most:
                            return None
                return bytes(data)
            except (TimeoutError, Unavailable, PeerError):
                continue
        return None

    # Auditing ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look into cases, one after the other."""
        while True:
            open_ = await self._queue.get()
            contribution = open_.case.contribution
            if contribution.author in self.tally.convicted():
                continue
            verdict, text = await self._audit(open_)
            self._shown.done[verdict.name.lower()] = (
                self._shown.done.get(verdict.name.lower(), 0) + 1
            )
            self._deps.on_event(
                "audited",
                round=contribution.round,
                peer=peer_id_of(contribution.author),
                verdict=verdict.name.lower(),
                why=text,
            )
            self._tell(open_.case, verdict)

    async def _hash(self, optimizer: bytes, local: Local) -> Digest:
        return await self._deps.ports.compute.maths(
            lambda: local_hash(optimizer, local), cost_s=self._g.d * S_PER_PARAM
        )

    async def _audit(self, open_: _Open) -> tuple[Verdict, str]:
        """Our verdict on one contribution, with its reason."""
        contribution = open_.case.contribution
        commitment = contribution.commitment
        text = breach(commitment, self._manifest.round.steps, open_.follows)
        if text:
            return Verdict.BREACH, text
        own = self._worker.compute_class
        if not own or commitment.compute_class != own:
            return Verdict.OTHER_CLASS, "another compute class"
        if open_.follows is None:
            return Verdict.INCONCLUSIVE, "it is not known here what it must start from"
        local, optimizer = Local.new(self._g), b""
        if commitment.local_before != self._new:
            data = await self._fetch(peer_id_of(contribution.author), contribution.round)
            if data is None:
                return Verdict.NO_OPENING, "no opening"
            try:
                local, optimizer = decode_opening(self._g, data)
            except Malformed as error:
                return Verdict.NO_OPENING, str(error)
            found = await self._hash(digest("local optimizer", optimizer), local)
            if found != commitment.local_before:
                return Verdict.NO_OPENING, "an opening of another local memory"
        return await self._replay(open_, local, optimizer)

    async def _replay(self, open_: _Open, local: Local, optimizer: bytes) -> tuple[Verdict, str]:
        closed, contribution = open_.closed, open_.case.contribution
        commitment, context = contribution.commitment, closed.context
        author = peer_id_of(contribution.author)
        request = ReplayRequest(
            params=closed.params,
            round=contribution.round,
            rounds=self._manifest.job.rounds,
            data_seed=data_seed(context.prev, author),
            steps=self._manifest.round.steps,
            steps_done=commitment.steps,
            local_state=optimizer,
            shard=shard_of(contribution.author, self._founders),
        )
        await self._free.wait()
        async with self._replaying:
            try:
                reply = await self._worker.replay(request)
            except (WorkerFailed, ConfigError) as error:
                return Verdict.INCONCLUSIVE, str(error)
        self._shown.steps += commitment.steps
        if reply is None:
            return Verdict.MISMATCH, "no training reaches the local state that was opened"
        self._shown.seconds += reply.seconds
        replayable = Replayable(
            digest("local optimizer", optimizer), reply.local_after, commitment.compute_class
        )
        encoded = await self._deps.ports.compute.maths(
            lambda: encode_update(
                self._g,
                reply.update,
                local,
                round_=contribution.round,
                peer=author,
                prev=context.prev,
                root=commitment.state_root,
                steps=commitment.steps,
                loss=0.0,
                replayable=replayable,
            ),
            cost_s=self._g.d * S_PER_PARAM,
        )
        if encoded.commitment.parts != commitment.parts:
            return Verdict.MISMATCH, "its steps give other parts"
        if encoded.commitment.local_after != commitment.local_after:
            return Verdict.MISMATCH, "its steps leave another local memory"
        return Verdict.OK, ""

    # Findings ----------------------------------------------------------------------------------

    def _tell(self, case: Case, verdict: Verdict) -> None:
        """Sign a finding, count it, and send it to the other electors of its round."""
        contribution = case.contribution
        finding = Finding(contribution.commitment_id, verdict, self._worker.compute_class)
        round_ = contribution.round
        body = self._deps.behaviour.signs(round_, KIND, encode_finding(finding))
        signature = self._deps.signer.sign(KIND, self._job, round_, body)
        signed = Signed(KIND, self._job, round_, self._own, body, signature)
        self._count(signed)
        for key, _ in case.electorate.keys:
            if key != self._own:
                self._group.create_task(self._deliver(peer_id_of(key), signed))

    async def _deliver(self, peer: PeerId, signed: Signed) -> None:
        data = self._deps.behaviour.sends(signed.round, peer, KIND, encode_signed_finding(signed))
        if data is None:
            return
        for attempt in range(TELL_TRIES):
            if attempt:
                await asyncio.sleep(min(0.1 * 2**attempt, 2.0))
            self._counters.calls += 1
            self._counters.bytes_up += len(data)
            try:
                await self._deps.ports.transport.call(
                    peer, FINDING_METHOD, data, timeout_s=IDLE_S_MAX, reply_bytes_max=64
                )
                return
            except (Refused, Unavailable):  # its round is not over, or it is away
                continue
            except PeerError:
                return

    def on_finding(self, peer: PeerId, signed: Signed) -> None:
        """Take a finding that its author sent.

        Raises:
            Refused: the round is not over here.
            PeerError: another's, or its signature does not verify.
        """
        if not self.is_on:
            return
        if public_key_of(peer) != signed.signer:
            raise PeerError("a finding is sent by who signed it")
        if signed.round > self._round:
            raise Refused("that round is not over here")
        place = (signed.signer, KIND, signed.job, signed.round, signed.body)
        if not self._deps.verify(*place, signed.signature):
            raise BadSignature("the signature of the finding does not verify")
        case = self._count(signed)
        if case is None or signed.signer != case.first:
            return
        open_ = self._open.get(case.contribution.commitment_id)
        if open_ is not None and decode_finding(signed.body).verdict in OBJECTIONS:
            self._look_into(open_)

    def _count(self, signed: Signed) -> Case | None:
        """Count a finding; who is convicted by it is blamed once. Its case, if it is new."""
        before = self.tally.convicted()
        case = self.tally.add(signed)
        for key, round_ in self.tally.convicted().items():
            if key not in before:
                peer = peer_id_of(key)
                self._shown.convicted[peer] = round_
                self._deps.on_event("convicted", peer=peer, round=round_)
                self._deps.on_blame(peer, FalseWork(f"its work of round {round_} is false"))
        return case


def data_seed(prev: Digest, peer: PeerId) -> bytes:
    """What the data of a contributor's steps is drawn from.

    Args:
        prev: id of the last decision.
        peer: the contributor.
    """
    return digest("data", prev + peer.encode())
