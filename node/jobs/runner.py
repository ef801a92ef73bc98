"""Runs one job: take part in rounds or follow, catch up, show the result.

Flow. One runner a job; ``JobService`` hands it the messages of its job. What is decided is in
``exchange`` and ``ledger``; this file orders it in time.
"""

import asyncio
from collections.abc import Sequence

from node.errors import ConfigError, PeerError, Unavailable, WorkerFailed
from node.exchange.canonical import golden_check
from node.exchange.deadlines import Bounds, DeadlineEstimator
from node.identity import peer_id_of, public_key_of
from node.jobs.auditing import Auditing
from node.jobs.behind import Behind
from node.jobs.closed import Closed
from node.jobs.contributing import Contributor
from node.jobs.courier import Counters, Courier
from node.jobs.deps import RunnerDeps
from node.jobs.following import Following, check_dropped, sharing, why_following
from node.jobs.geometry import geometry
from node.jobs.mailbox import Mailbox
from node.jobs.manifest import SignedManifest
from node.jobs.newcomers import Newcomers
from node.jobs.progress import Progress
from node.jobs.recomputing import Recomputing
from node.jobs.records import JobRecords
from node.jobs.remembering import Remembering, remember
from node.jobs.replica import Replica
from node.jobs.round_flow import RoundFlow, RoundOutcome
from node.jobs.round_start import begin_round
from node.jobs.scope import Scope, first_of
from node.jobs.shard import shard_of
from node.jobs.silence import Silence
from node.jobs.sync import Catcher
from node.ledger.chain import Head
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused, breach_of
from node.ledger.succession import ABSENT
from node.ports import Worker
from node.types import PeerId
from node.wire.chain_messages import Ack
from node.wire.messages import Evidence, FetchReply, FetchRequest, RoundMessage

STATE_RETRY_S = 0.25
"""Pause before a state that nobody gave is asked for again."""


class JobRunner:
    """One job on one node."""

    def __init__(self, signed: SignedManifest, deps: RunnerDeps) -> None:
        self.signed = signed
        self.manifest = signed.manifest
        self.job = signed.job_id
        self.deps = deps
        self.progress = Progress()
        self.counters = Counters()
        self.flow: RoundFlow | None = None
        self.replica: Replica | None = None
        self.remembering: Remembering | None = None
        self.auditing: Auditing | None = None
        self.recomputing = Recomputing(deps, signed, self.counters, self.progress.audits)
        self._genesis = signed.genesis
        self._records = JobRecords(deps.ports.store, self.job)
        self._mailbox = Mailbox()
        self.newcomers = Newcomers(deps, self.manifest)
        limits = self.manifest.round
        self._deadlines = DeadlineEstimator(
            Bounds(limits.commit_s_min, limits.commit_s_max, limits.view_s_min, limits.view_s_max)
        )
        self._behind = Behind(lambda: self.head)
        self._following = Following(deps.signer.peer_id)
        self._wide_first = False
        self._silence = Silence(deps.signer.peer_id)

    # Facts -------------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """Where the job stands here."""
        return self.replica.head if self.replica else self._genesis

    @property
    def round_now(self) -> int:
        """The round in progress."""
        return self.head.round + 1

    @property
    def me(self) -> int | None:
        """Our index in the electorate, or None."""
        return self.head.electorate.index(self.deps.signer.public_key)

    def _others(self) -> list[PeerId]:
        own = self.deps.signer.peer_id
        return [p for p in self.head.electorate.ids if p != own]

    # Messages ----------------------------------------------------------------------------------

    def on_message(self, peer: PeerId, message: RoundMessage, size: int) -> Ack:
        """Take a round message; the receipt says where we stand.

        Raises:
            PeerError: a stranger's, or of another branch, or one too many.
        """
        elector = self.head.electorate.index(public_key_of(peer))
        if elector is None:
            check_dropped(self.head, public_key_of(peer), message.round)
            return Ack(self.round_now, self.head.id)
        self.counters.bytes_down += size
        self._silence.heard(peer, self.round_now)
        if message.round == self.round_now and self.flow is not None:
            if message.prev != self.head.id:
                raise PeerError("the message belongs to another chain of decisions")
            self.flow.admit(elector)
            self.flow.take(elector, message.body)
        elif message.round >= self.round_now:
            self._mailbox.put(peer, message, size)
            self._behind.note(peer, message.round)
        return Ack(self.round_now, self.head.id)

    def on_fetch(self, peer: PeerId, request: FetchRequest) -> FetchReply:
        """What another elector lacks of the round in progress; a stranger gets nothing."""
        is_elector = self.head.electorate.index(public_key_of(peer)) is not None
        if self.flow is None or request.round != self.round_now or not is_elector:
            return FetchReply((), ())
        return self.flow.held(request.ids)

    # Life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; a failure of the job ends in the state ``failed``, not in an error."""
        job, settings = self.manifest.job, self.manifest.workload
        try:
            compute = self.deps.ports.compute
            shard = shard_of(self.deps.signer.public_key, self._genesis.electorate)
            worker = await compute.start_worker(job.workload, settings, job.seed, shard)
            try:
                await self._run(worker)
            finally:
                await worker.close()
        except* (ConfigError, WorkerFailed, Unavailable) as group:  # of a round: in groups
            # Unavailable here is the disk: what cannot be kept must not be signed.
            reason = str(first_of(group))
            self.progress.state, self.progress.reason = "failed", reason
            self.deps.on_event("job_failed", job=job.name, reason=reason)

    async def _run(self, worker: Worker) -> None:
        ports = self.deps.ports
        g = geometry(self.job, self.manifest, worker.shapes, self._genesis.electorate)
        # In the thread that will do the maths: floating-point modes belong to a thread.
        fault = await ports.compute.maths(golden_check, cost_s=0.01)
        self.progress.warning = fault or ""
        self._may_vote = self.deps.may_vote and fault is None
        self.replica = await Replica.restore(
            await worker.initial(), self._genesis, g, self._records, ports.compute,
            self.deps.verify,
        )  # fmt: skip
        self.progress.params = g.d
        async with Scope() as group:
            self._courier = Courier(
                ports.transport, self.deps.behaviour, group, self.manifest.round.call_s_max,
                lambda: self.round_now, self._behind.note, self.counters,
            )  # fmt: skip
            self._catcher = Catcher(
                self._courier, ports.transport, self._records, ports.compute, self.deps.verify,
                self.deps.on_blame,
            )  # fmt: skip
            group.create_task(self.replica.run_snapshots())
            founders = self._genesis.electorate
            self.remembering = remember(
                self.deps, self.job, founders.ids, worker, lambda: sharing(founders, self.head)
            )
            if self.remembering is not None:
                group.create_task(self.remembering.run())
            self.auditing = Auditing(
                self.deps, self.manifest, self._genesis, g, worker, group, self.counters,
                self.progress.audits, self._may_vote, self._convict,
            )  # fmt: skip
            self.replica.auditable = self.auditing.is_on
            self.newcomers.start(group, self._courier, g, worker, self._records, self.auditing)
            await self.auditing.start(self.replica.head.round)
            group.create_task(self.auditing.run())
            group.create_task(self.recomputing.run(self._courier, self._may_vote, self._convict))
            contributor = Contributor(
                self.deps, self.manifest, self.progress, worker, self.replica, self.remembering,
                self.auditing,
            )  # fmt: skip
            await self._rounds(self.replica, contributor)
            await self._finish(contributor)
            await asyncio.Event().wait()  # go on serving those who are behind

    async def _rounds(self, replica: Replica, contributor: Contributor) -> None:
        while self.head.round < self.manifest.job.rounds and not self.head.halted:
            if self.me is None:
                await self._follow(contributor, replica)
            elif self._behind.proven_by or not replica.is_current:
                first = [self._behind.proven_by] if self._behind.proven_by else []
                await self._catch_up(contributor, replica, [*first, *self._others()])
            else:
                await self._round(replica, contributor)
        while not replica.is_current:
            peers = self._others()
            asked = self._following.ask(peers) if self.me is None else peers
            await self._catch_up(contributor, replica, asked)

    async def _follow(self, contributor: Contributor, replica: Replica) -> None:
        """One look at the chain from outside the electorate."""
        before = self.head.round
        await self._catch_up(contributor, replica, self._following.ask(self._others()))
        self.progress.state = "running"
        if replica.is_current:
            self.progress.reason = why_following(self.head, self.deps.signer.public_key)
            if self._may_vote:
                await self.newcomers.ask(self.head, replica.state.params, self._others())
            await asyncio.sleep(self._following.pause_s(self.head.round > before))

    def _note_electors(self, before: Electorate) -> None:
        if gone := [p for p in before.ids if p not in self.head.electorate.ids]:
            self.deps.on_event("electors_left", job=self.manifest.job.name, peers=gone)
            self.deps.on_electors()

    async def _convict(self, evidence: Evidence) -> None:
        """Evidence was found outside of a round: keep it, and tell the round in progress."""
        await self.deps.proofs.add(evidence)
        flow, key = self.flow, accused(evidence)
        if flow and flow.context.me is not None and flow.context.electorate.index(key) is not None:
            flow.take(flow.context.me, evidence)
        else:  # the next round begins with what is on disk
            self.deps.on_blame(peer_id_of(key), breach_of(evidence))

    # One round ---------------------------------------------------------------------------------

    async def _round(self, replica: Replica, contributor: Contributor) -> None:
        round_ = self.round_now
        loop = asyncio.get_running_loop()
        started = loop.time()
        signer = self.deps.signer if self._may_vote else None
        g = replica.g.with_electorate(self.manifest, self.head.electorate, self.head.liars)
        waits = self._deadlines.deadlines()
        quiet = self._silence.quiet(self.head.electorate, round_)
        entrants = self.newcomers.entrants(self.head)
        context = replica.context(self.me, g.rules, waits, self._wide_first, quiet, entrants)
        machine, work = await begin_round(context, g, replica, self._records, self.deps, signer)
        async with Scope() as scope:
            flow = self.flow = RoundFlow(
                machine, work, self._records, self._courier, scope,
                lambda phase: self.deps.failpoint(phase, round_), self.deps.on_blame,
                self.deps.proofs.add,
            )  # fmt: skip
            for elector, body in self._mailbox.take(round_, context.prev, context.electorate):
                flow.take(elector, body)
            scope.create_task(self._behind.watch(flow, self._catcher, self._others()))
            if "commit" not in machine.core.slots and signer is not None:
                scope.create_task(contributor.contribute(flow))
            else:
                contributor.idle()
            try:
                outcome = await flow.run()
            finally:
                self.flow = None
                flow.close()
                scope.cancel_all()
        self.recomputing.closed(outcome)
        closed = Closed.of(outcome, machine.core, replica)
        contributor.closed(closed, used=await replica.close(outcome, self.me))
        self._note_electors(context.electorate)
        self.deps.failpoint("certified", round_)
        self._note(outcome, flow, loop.time() - started)

    def _note(self, outcome: RoundOutcome, flow: RoundFlow, seconds: float) -> None:
        """Learn from a certified round, and show it."""
        decision, view = outcome.decision, outcome.certificate.view
        if outcome.durations is not None:
            self._deadlines.add(outcome.durations)
        self._wide_first = view > 0 or any(why != ABSENT for _, why in decision.refused)
        ids = flow.context.electorate.ids
        shown = self.progress
        shown.take(decision, ids)
        shown.weigh({ids[e]: weight for e, weight in sorted(flow.work.weights.items())})
        shown.round_seconds.append(seconds)
        self.deps.on_event(
            "round_certified", job=self.manifest.job.name, round=decision.round,
            decision=self.head.id.hex()[:12], view=view, used=shown.used,
            refused=len(shown.refused), skip=decision.skip_reason or False,
            seconds=round(seconds, 3), steps=flow.times.steps(),
        )  # fmt: skip

    # Catching up -------------------------------------------------------------------------------

    async def _catch_up(
        self, contributor: Contributor, replica: Replica, peers: Sequence[PeerId]
    ) -> None:
        """Follow the chain to its end and fetch the state."""
        before, electorate = replica.head.round, replica.head.electorate
        head, last = await self._catcher.forward(replica.head, peers)
        if last is not None:
            decision, electors = last
            self.progress.take(decision, electors.ids)
        self._behind.proven_by = None
        state = None
        if head.state_root not in (None, replica.root):
            assert head.state_root is not None
            self.progress.reason = f"fetching the state of round {head.round}"
            state = await self._catcher.state(replica.g, head.state_root, peers)
            if state is None:
                self.progress.reason = f"nobody gives the state of round {head.round} yet"
                await asyncio.sleep(STATE_RETRY_S)
        if head.round > before or state is not None:
            replica.jump(head, state, last[0] if last else None)
            self._note_electors(electorate)
            await contributor.caught_up(head.round)
            self.deps.on_event("caught_up", round=head.round, missed=head.round - before)

    async def _finish(self, contributor: Contributor) -> None:
        """The last round is certified."""
        await contributor.finish()
        shown, head = self.progress, self.head
        shown.state, shown.reason = "done", "halted by vote" if head.halted else ""
        self.deps.on_event("job_done", round=head.round, **dict(shown.metrics))
