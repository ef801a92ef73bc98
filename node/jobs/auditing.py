"""Audits of one job: open one's own local memory, look into others' work, count findings.

Flow. Who is drawn, and what convicts, is in ``exchange.auditing``; how one audit goes is in
``jobs.auditor``. docs/protocol.md, "Audits".
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from node.errors import BadSignature, FalseFinding, PeerError, Refused
from node.exchange.auditing import (
    CASES_KEPT_ROUNDS,
    OBJECTIONS,
    Case,
    Contribution,
    History,
    Tally,
    contributions,
    first_auditor,
)
from node.exchange.core import RoundContext
from node.identity import peer_id_of, public_key_of
from node.jobs.auditor import Auditor, Subject
from node.jobs.closed import Closed
from node.jobs.courier import Counters
from node.jobs.deps import RunnerDeps
from node.jobs.geometry import Geometry
from node.jobs.manifest import JobManifest
from node.jobs.opening import Openings
from node.jobs.progress import Audits
from node.jobs.telling import sign_finding, tell_electors
from node.ledger.chain import Head
from node.ledger.evidence import contradiction
from node.ledger.probation import PAST_ROUNDS, drawn
from node.ledger.succession import electorate_of
from node.ledger.vetting import is_drawn
from node.ports import FloatVector, Worker
from node.types import Digest, PeerId
from node.wire.audit import (
    Finding,
    Verdict,
    decode_finding,
)
from node.wire.messages import Evidence, Signed

PARAMS_MAX = 1 << 23
"""Parameters of the largest job that is audited: its openings have up to 200 MB."""
AUDITS_AT_ONCE = 4
"""Of these one replays, and the others fetch or wait."""


def is_auditable(manifest: JobManifest, g: Geometry, worker: Worker) -> bool:
    """Whether contributions of a job can be audited: the same on all its nodes."""
    return manifest.audit.rate > 0 and worker.replayable and g.d <= PARAMS_MAX


@dataclass
class _Open:
    """A case that this node may have to look into."""

    case: Case
    subject: Subject
    is_done: bool = False


@dataclass(frozen=True, order=True)
class _Turn:
    """When a case is looked into: those that somebody objected to before those just drawn."""

    drawn: bool
    place: int
    open: _Open = field(compare=False)


class Auditing:
    """Audits of one job on one node; does nothing where the job is not auditable.

    Args:
        deps: the node.
        manifest: of the job.
        genesis: head before round 1.
        g: geometry of the job.
        worker: of the job.
        group: owns the tasks.
        counters: traffic of the job.
        shown: what status shows.
        may_sign: whether this node may sign findings.
        convict: takes evidence that was found here, and checked.
    """

    def __init__(
        self,
        deps: RunnerDeps,
        manifest: JobManifest,
        genesis: Head,
        g: Geometry,
        worker: Worker,
        group: asyncio.TaskGroup,
        counters: Counters,
        shown: Audits,
        may_sign: bool,
        convict: Callable[[Evidence], Coroutine[None, None, None]],
    ) -> None:
        self.is_on = is_auditable(manifest, g, worker)
        self.tally = Tally()
        ports = deps.ports
        self.auditor = Auditor(
            manifest, genesis.electorate, g, worker, ports.compute, ports.transport, counters, shown
        )
        self._deps = deps
        self._job = genesis.job
        self._rate = manifest.audit.rate
        self._class = worker.compute_class
        self._group = group
        self._counters = counters
        self._shown = shown
        self._may_sign = may_sign
        self._convict = convict
        self._own = deps.signer.public_key
        self._openings = Openings(g, worker, group)
        self._history = History()
        self._round = 0
        self._open: dict[Digest, _Open] = {}
        self._refuted: set[tuple[bytes, Digest]] = set()
        """(auditor, commitment) of false objections that were blamed."""
        self._queue: asyncio.PriorityQueue[_Turn] = asyncio.PriorityQueue()
        """Bounded by the open cases: each is queued once."""
        self._turns = 0
        self._starts: dict[int, tuple[RoundContext, FloatVector]] = {}
        """Round -> what steps of it start from, as long as strangers may contribute to it."""

    # Rounds ------------------------------------------------------------------------------------

    async def start(self, round_: int) -> None:
        """Before the first round of this life; ``round_`` is the last that was certified."""
        await self.auditor.start()
        if round_:
            self.missed(round_)

    def missed(self, round_: int) -> None:
        """Rounds up to ``round_`` were certified, and not seen here."""
        self._starts.clear()
        self._round = round_
        self._history.missed()

    def closed(self, closed: Closed) -> None:
        """A round was certified: draw, keep what we may have to open, look into what is ours."""
        decision, electorate = closed.decision, closed.context.electorate
        self._round = decision.round
        if self.auditor.manifest.admission.mode == "open":
            self._starts[decision.round] = closed.context, closed.params
            self._starts.pop(decision.round - PAST_ROUNDS - 1, None)
        if not self.is_on or decision.skip:
            return
        oldest = decision.round - CASES_KEPT_ROUNDS
        self._openings.forget(oldest)
        for id_ in [i for i, o in self._open.items() if o.case.contribution.round < oldest]:
            del self._open[id_]
        plan = contributions(decision, electorate, closed.opened, closed.signed)
        for each in () if closed.after_skip else plan:
            if is_drawn(closed.decision_id, each.commitment_id, self._rate):
                self._draw(closed, each, plan)
        self._history.note(decision, electorate, closed.opened, closed.after_skip)
        self._draw_strangers(closed)

    def _draw_strangers(self, closed: Closed) -> None:
        """What was drawn of contributions on probation: each starts from a new local memory."""
        context, decision = closed.context, closed.decision
        for audit in drawn(decision, closed.decision_id, context.electorate, context.terms):
            signed, start = closed.signed.get(audit.commitment), self._starts.get(audit.round)
            electors = electorate_of(context.terms, audit.round)
            if signed and start and electors:  # else others have seen it
                on = Contribution(signed, closed.opened[audit.commitment])
                follows = on.commitment.local_before == self.auditor.new
                case = Case(on, closed.decision_id, electors, audit.auditor)
                self._follow(case, Subject(on, *start, follows))

    def _draw(self, closed: Closed, drawn: Contribution, plan: Sequence[Contribution]) -> None:
        first = first_auditor(closed.decision_id, drawn, plan)
        if first is None:
            return
        case = Case(drawn, closed.decision_id, closed.context.electorate, first)
        if drawn.author == self._own:
            self.tally.open(case)
            self._openings.keep(drawn.round, case.electorate, closed.local)
            return
        before = drawn.commitment.local_before
        follows = self._history.follows(drawn.author, before, self.auditor.new)
        self._follow(case, Subject(drawn, closed.context, closed.params, follows))

    def _follow(self, case: Case, subject: Subject) -> None:
        """Count findings on another's contribution; look into it if it is ours to."""
        self.tally.open(case)
        open_ = self._open[case.contribution.commitment_id] = _Open(case, subject)
        if case.first == self._own:
            self._look_into(open_, drawn=True)

    def _look_into(self, open_: _Open, *, drawn: bool) -> None:
        if not open_.is_done and self._may_sign:
            open_.is_done = True
            self._turns += 1
            self._queue.put_nowait(_Turn(drawn, self._turns, open_))

    async def opening(self, peer: PeerId, round_: int) -> AsyncIterator[bytes]:
        """Reply of "opening/1"; see ``Openings.give``."""
        async for chunk in self._openings.give(peer, round_):
            self._counters.bytes_up += len(chunk)
            self._shown.bytes_opened += len(chunk)
            yield chunk

    async def run(self) -> None:
        """Look into cases, a few at once: who stalls an opening holds up no other audit."""
        await asyncio.gather(*(self._look() for _ in range(AUDITS_AT_ONCE)))

    async def _look(self) -> None:
        while True:
            open_ = (await self._queue.get()).open
            author, round_ = open_.subject.contribution.author, open_.subject.contribution.round
            if author in self.tally.convicted():
                continue
            verdict, why = await self.auditor.audit(open_.subject)
            name = verdict.name.lower()
            self._shown.done = Counter(self._shown.done) + Counter([name])
            peer = peer_id_of(author)
            self._deps.on_event("audited", round=round_, peer=peer, verdict=name, why=why)
            self._tell(open_.case, verdict)

    # Findings ----------------------------------------------------------------------------------

    def _tell(self, case: Case, verdict: Verdict) -> None:
        """Sign a finding, count it, and send it to the other electors of its round."""
        round_ = case.contribution.round
        finding = Finding(case.contribution.commitment_id, verdict, self._class)
        signed = sign_finding(self._deps, self._job, round_, finding)
        self._count(signed)
        others, transport = [key for key, _ in case.electorate.keys], self._deps.ports.transport
        tell_electors(self._group, transport, self._counters, others, signed)

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
        other = self.tally.other(signed)
        if self.tally.expects(signed) is None and other is None:
            return  # before the signature, whose check costs most
        if not signed.holds(self._deps.verify):
            raise BadSignature("the signature of the finding does not verify")
        if other is not None and (found := contradiction(other, signed)) is not None:
            self._group.create_task(self._convict(found))
        case = self._count(signed)
        is_liar = any(key == signed.signer for key, _ in self._refuted)
        if case is None or signed.signer != case.first or is_liar:
            return
        open_ = self._open.get(case.contribution.commitment_id)
        if open_ is not None and decode_finding(signed.body).verdict in OBJECTIONS:
            self._look_into(open_, drawn=False)

    def _count(self, signed: Signed) -> Case | None:
        """Count a finding; whom it convicts, or shows to accuse falsely, pays. Its case, if new."""
        case = self.tally.add(signed)
        for judged in self.tally.judgements():
            peer = peer_id_of(judged.first.signer)
            if peer not in self._shown.convicted:
                self._shown.convicted[peer] = judged.first.round
                self._deps.on_event("judged", peer=peer, round=judged.first.round)
                self._group.create_task(self._convict(judged))
        if case is not None:
            self._blame_refuted(case)
        return case

    def clearing(self, head: Head) -> tuple[Digest, ...]:
        """What our next commitment clears: what we were to audit first, and found true."""
        return self.tally.cleared_by(self._own, head.vetting.open)

    def _blame_refuted(self, case: Case) -> None:
        """Score auditors that objected to what enough others found true; each once."""
        on = case.contribution
        for key in sorted(self.tally.refuted(case)):
            if key != self._own and (key, on.commitment_id) not in self._refuted:
                self._refuted.add((key, on.commitment_id))
                error = FalseFinding(f"its finding on round {on.round} is false")
                self._deps.on_blame(peer_id_of(key), error)
