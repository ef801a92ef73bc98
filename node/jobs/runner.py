"""Runs one job: train, take part in rounds, catch up, keep what was agreed, show the result.

Flow. One runner a job; ``JobService`` hands it the messages of its job. What is decided is in
``exchange`` and ``ledger``; this file orders it in time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.errors import ConfigError, PeerError, WorkerFailed
from node.exchange.canonical import golden_check
from node.exchange.core import RoundContext
from node.exchange.deadlines import Bounds, DeadlineEstimator
from node.exchange.round import Result, RoundMachine
from node.identity import Signer, Verifier, public_key_of
from node.jobs.courier import Counters, Courier
from node.jobs.mailbox import Mailbox
from node.jobs.manifest import SignedManifest
from node.jobs.records import JobRecords
from node.jobs.round_flow import RoundFlow, RoundOutcome
from node.jobs.scope import Scope
from node.jobs.serving import Shelf
from node.jobs.sync import Catcher
from node.jobs.work import (
    Encoded,
    apply_results,
    encode_update,
    geometry,
    result_root,
    start_state,
)
from node.ledger.chain import Head, extend, genesis
from node.ledger.electorate import Electorate
from node.ledger.votes import decision_id
from node.merkle import digest
from node.ports import Behaviour, FloatVector, Ports, TrainRequest, Worker
from node.state.outer import OuterState
from node.state.snapshot import state_root
from node.types import Digest, PeerId
from node.wire.messages import Ack, FetchReply, FetchRequest, RoundMessage

BEHIND_S = 0.25
"""How long a certificate may be on its way before it is asked for."""
FOLLOW_S = 0.5
"""Pause of a follower between two looks at the chain."""
PARTS_KEPT_BYTES_MAX = 4 << 20
"""Own parts below this are kept for a restart; losing larger ones costs one contribution."""
ROUNDS_SHOWN = 256


@dataclass(frozen=True)
class RunnerDeps:
    """What a runner needs of its node."""

    ports: Ports
    signer: Signer
    verify: Verifier
    may_vote: bool
    """False after the slot log was lost: what this node signed before is not known."""
    behaviour: Behaviour
    failpoint: Callable[[str, int], None]
    on_blame: Callable[[PeerId, PeerError], None]
    artifacts: Path
    on_event: Callable[..., None]
    """Structured log: (event, **fields)."""


class JobRunner:
    """One job on one node."""

    def __init__(self, signed: SignedManifest, deps: RunnerDeps) -> None:
        self.signed = signed
        self.manifest = signed.manifest
        self.deps = deps
        self.job = signed.job_id
        founders = Electorate.of(public_key_of(p) for p in signed.founders)
        self.head: Head = genesis(self.job, founders, self.manifest.job.rounds)
        self.records = JobRecords(deps.ports.store, self.job)
        self.mailbox = Mailbox()
        self.counters = Counters()
        self.flow: RoundFlow | None = None
        self.shelf: Shelf | None = None
        self.state_name = "waiting"
        self.reason = "starting the workload"
        self.loss: float | None = None
        self.metrics: Mapping[str, float] = {}
        self.metrics_round = 0
        self.used = 0
        self.refused: Mapping[str, str] = {}
        self.round_seconds: deque[float] = deque(maxlen=ROUNDS_SHOWN)
        self.artifact_paths: Sequence[str] = ()
        self.warning = ""
        self.params = 0
        round_ = self.manifest.round
        self._deadlines = DeadlineEstimator(
            Bounds(round_.commit_s_min, round_.commit_s_max, round_.view_s_min, round_.view_s_max)
        )
        self._ahead: tuple[int, PeerId] | None = None
        self._ahead_event = asyncio.Event()
        self._residual_next: tuple[Digest, FloatVector] | None = None
        self._skipped = False
        self._wide_first = False
        self._snapshot_due = asyncio.Event()
        self._snapshot_round = -1

    # Facts -------------------------------------------------------------------------------------

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
            raise PeerError("only electors take part in a round")
        self.counters.bytes_down += size
        if message.round == self.round_now and self.flow is not None:
            if message.prev != self.head.id:
                raise PeerError("the message belongs to another chain of decisions")
            self.flow.admit(elector)
            self.flow.take(elector, message.body)
        elif message.round >= self.round_now:
            self.mailbox.put(elector, message, size)
            self.note_ahead(peer, message.round)
        return Ack(self.round_now, self.head.id)

    def note_ahead(self, peer: PeerId, round_: int) -> None:
        """A peer says that it is in ``round_``; if that is ahead of us, look for the proof."""
        if round_ > self.round_now and (self._ahead is None or round_ > self._ahead[0]):
            self._ahead = (round_, peer)
            self._ahead_event.set()

    def on_fetch(self, request: FetchRequest) -> FetchReply:
        """What another elector lacks of the round in progress."""
        if self.flow is None or request.round != self.round_now:
            return FetchReply((), ())
        return self.flow.held(request.ids)

    # Life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; a failure of the job ends in the state ``failed``, not in an error."""
        try:
            await self._run()
        except (ConfigError, WorkerFailed) as error:
            self.state_name, self.reason = "failed", str(error)
            self.deps.on_event("job_failed", job=self.manifest.job.name, reason=str(error))

    async def _run(self) -> None:
        job = self.manifest.job
        ports = self.deps.ports
        worker = await ports.compute.start_worker(job.workload, self.manifest.workload, job.seed)
        try:
            self.g = geometry(self.job, self.manifest, worker.shapes, self.head.electorate)
            self.params = self.g.d
            self.shelf = Shelf(self.records, ports.compute, self.g)
            fault = await ports.compute.maths(golden_check, cost_s=0.01)
            self.warning = fault or ""
            self._may_vote = self.deps.may_vote and not self.warning
            async with Scope() as group:
                self._courier = Courier(
                    ports.transport,
                    self.deps.behaviour,
                    group,
                    self.manifest.round.call_s_max,
                    lambda: self.round_now,
                    self.note_ahead,
                    self.counters,
                )
                self._catcher = Catcher(
                    self._courier,
                    ports.transport,
                    self.records,
                    ports.compute,
                    self.deps.verify,
                    self.deps.on_blame,
                )
                await self._restore(worker)
                group.create_task(self._keep_snapshots())
                await self._rounds(worker)
                await self._finish(worker)
                await asyncio.Event().wait()  # go on serving those who are behind
        finally:
            await worker.close()

    async def _restore(self, worker: Worker) -> None:
        """Take up what is on disk, else the first state."""
        initial = start_state(self.g, await worker.initial())
        founders = self.head.electorate
        self.head, heads = await self.records.chain(
            founders, self.manifest.job.rounds, self.deps.verify
        )
        self.state = initial
        self.residual: FloatVector = np.zeros(self.g.d, np.float32)
        self.root = state_root(initial, self.g.shapes)
        at = 0
        for round_ in sorted(heads, reverse=True):
            kept = await self.records.state(round_)
            root = heads[round_].state_root
            if kept and root and state_root(kept[0], self.g.shapes) == root:
                self.state, self.root, at = kept[0], root, round_
                break
        for round_ in range(at + 1, self.head.round + 1):
            root = heads[round_].state_root
            results = await self.records.results(round_, self.g.rules.result_bytes)
            if root == self.root:
                continue
            if results is None:
                break
            after, found = await self._maths_apply(results)
            if found != root:
                break
            self.state, self.root = after, found
        self._publish_state()

    async def _maths_apply(self, results: Sequence[bytes]) -> tuple[OuterState, Digest]:
        state = self.state
        return await self.deps.ports.compute.maths(
            lambda: apply_results(self.g, state, results), cost_s=self.g.d * 5e-9
        )

    def _publish_state(self) -> None:
        assert self.shelf is not None
        self.shelf.add(self.root, self.state)
        self._snapshot_due.set()

    # Rounds ------------------------------------------------------------------------------------

    async def _rounds(self, worker: Worker) -> None:
        rounds = self.manifest.job.rounds
        while self.head.round < rounds and not self.head.halted:
            if self._ahead and self._ahead[0] > self.round_now:
                await self._catch_up(worker, [self._ahead[1], *self._others()])
            elif self.head.state_root not in (None, self.root):
                await self._catch_up(worker, self._others())
            elif self.me is None:
                await self._catch_up(worker, self._others())
                self.state_name, self.reason = "running", "following: not an elector"
                await asyncio.sleep(FOLLOW_S)
            else:
                await self._round(worker)
        if self.head.state_root not in (None, self.root):
            await self._catch_up(worker, self._others())

    async def _round(self, worker: Worker) -> None:
        round_ = self.round_now
        loop = asyncio.get_running_loop()
        slots, lock = await self.records.slots(round_)
        kept = await self.records.results(round_, self.g.rules.result_bytes)
        results: list[Result] = [
            (p, result_root(self.g, round_, p, data), data) for p, data in enumerate(kept or ())
        ]
        own = await self.records.parts(round_, self.g.rules.part_bytes) if slots else None
        context = self._context()
        signer = self.deps.signer if self._may_vote else None
        machine = RoundMachine(context, signer, self.deps.verify, slots, lock, results)
        started = loop.time()
        async with Scope() as group:
            flow = RoundFlow(
                machine,
                self.g,
                self.state,
                self.records,
                self._courier,
                self.deps.ports.compute,
                group,
                lambda phase: self.deps.failpoint(phase, round_),
                self.deps.on_blame,
                own or (),
            )
            self.flow = flow
            for elector, body in self.mailbox.take(round_, context.prev):
                flow.take(elector, body)
            group.create_task(self._watch_behind(flow))
            if "commit" not in slots and signer is not None:
                group.create_task(self._contribute(worker, flow))
            try:
                outcome = await flow.run()
            finally:
                self.flow = None
                group.cancel_all()
        await self._close(outcome, loop.time() - started)

    def _context(self) -> RoundContext:
        return RoundContext(
            job=self.job,
            round=self.round_now,
            prev=self.head.id,
            state_root=self.root,
            electorate=self.head.electorate,
            me=self.me,
            rules=self.g.rules,
            deadlines=self._deadlines.deadlines(),
            lease_until_round=self.head.lease_until_round,
            wide_first=self._wide_first,
        )

    async def _contribute(self, worker: Worker, flow: RoundFlow) -> None:
        """Train, encode, hand the update to the round; then evaluate while peers exchange."""
        context = flow.context
        round_ = self.manifest.round
        self.deps.failpoint("train", context.round)
        own = self.deps.signer.peer_id
        reply = await worker.train(
            TrainRequest(
                params=self.state.params,
                round=context.round,
                rounds=self.manifest.job.rounds,
                data_seed=digest("data", context.prev + own.encode()),
                steps=round_.steps,
                deadline_s=min(round_.train_s_max, 0.8 * context.deadlines.commit_s),
                continued=self._skipped,
            )
        )
        self.loss = reply.loss
        update = self.deps.behaviour.update(context.round, reply.update)
        encoded = await self._encode(update, context, reply.steps_done, reply.loss)
        if sum(len(p) for p in encoded.parts) <= PARTS_KEPT_BYTES_MAX:
            await self.records.put_parts(context.round, encoded.parts)
        flow.update(encoded)
        before = self.head.round
        if before > 0 and before % round_.evaluate_every == 0:
            self.metrics = await worker.evaluate(self.state.params)
            self.metrics_round = before

    async def _encode(
        self, update: FloatVector, context: RoundContext, steps: int, loss: float
    ) -> Encoded:
        residual = self.residual
        encoded = await self.deps.ports.compute.maths(
            lambda: encode_update(
                self.g,
                update,
                residual,
                round_=context.round,
                peer=self.deps.signer.peer_id,
                prev=context.prev,
                root=context.state_root,
                steps=steps,
                loss=loss,
            ),
            cost_s=self.g.d * 5e-9,
        )
        self._residual_next = (context.prev, encoded.residual)
        return encoded

    async def _close(self, outcome: RoundOutcome, seconds: float) -> None:
        """Keep the certificate, take the new state, settle what is ours alone."""
        decision = outcome.decision
        round_ = decision.round
        electorate = self.head.electorate
        prev = self.head.id
        await self.records.put_certificates({round_: outcome.certificate})
        self.deps.failpoint("certified", round_)
        self.head = extend(self.head, decision, decision_id(outcome.certificate.decision))
        if outcome.state is not None:
            self.state, self.root = outcome.state, decision.state_root
            self._publish_state()
        # The residual advances if and only if our contribution was used, whatever its weight.
        ours = self.me in {e for e, _ in decision.plan}
        if ours and self._residual_next and self._residual_next[0] == prev:
            self.residual = self._residual_next[1]
        self._residual_next = None
        self._skipped = decision.skip
        if outcome.durations is not None:
            self._deadlines.add(outcome.durations)
        self._wide_first = outcome.certificate.view > 0 or any(
            reason != "absent" for _, reason in decision.refused
        )
        self.used = len(decision.plan)
        self.refused = {electorate.ids[e]: reason for e, reason in decision.refused}
        self.round_seconds.append(seconds)
        self.state_name, self.reason = "running", ""
        self.deps.on_event(
            "round_certified",
            round=round_,
            view=outcome.certificate.view,
            used=self.used,
            refused=len(self.refused),
            skip=decision.skip_reason or False,
            seconds=round(seconds, 3),
        )
        await self.records.drop_slots(round_ - 2)
        await self.records.drop_blobs("parts", round_ - 1)

    # Catching up -------------------------------------------------------------------------------

    async def _watch_behind(self, flow: RoundFlow) -> None:
        """While a round runs: if peers are beyond it, get its certificate."""
        while True:
            await self._ahead_event.wait()
            self._ahead_event.clear()
            await asyncio.sleep(BEHIND_S)
            if self._ahead is None or self.flow is not flow:
                return
            for peer in [self._ahead[1], *self._others()]:
                certificates = await self._catcher.certificates(self.head, peer)
                if certificates:
                    index = self.head.electorate.index(public_key_of(peer))
                    flow.take(index or 0, certificates[0])
                    return
            self._ahead = None  # nobody could prove it

    async def _catch_up(self, worker: Worker, peers: Sequence[PeerId]) -> None:
        """Follow the chain to its end and fetch the state; local memory starts anew."""
        before = self.head.round
        self.head = await self._catcher.forward(self.head, peers)
        self._ahead = None
        if self.head.state_root not in (None, self.root):
            self.state_name, self.reason = "running", f"fetching the state of {self.head.round}"
            assert self.head.state_root is not None
            state = await self._catcher.state(self.g, self.head.state_root, peers)
            if state is None:
                self.reason = f"nobody gives the state of round {self.head.round} yet"
                await asyncio.sleep(BEHIND_S)
                return
            self.state, self.root = state, self.head.state_root
            self._publish_state()
        if self.head.round > before:
            self.residual = np.zeros(self.g.d, np.float32)
            self._skipped = False
            await worker.reset()
            self.deps.on_event("caught_up", round=self.head.round, missed=self.head.round - before)

    # Ends --------------------------------------------------------------------------------------

    async def _keep_snapshots(self) -> None:
        """Write the newest state after rounds, in the background; then older files may go."""
        while True:
            await self._snapshot_due.wait()
            self._snapshot_due.clear()
            await self._snapshot()

    async def _snapshot(self) -> None:
        round_, state, root = self.head.round, self.state, self.root
        if round_ == self._snapshot_round or self.head.state_root not in (None, root):
            return
        await self.records.put_state(round_, state, self.g.shapes, root.hex())
        previous, self._snapshot_round = self._snapshot_round, round_
        if previous >= 0:
            await self.records.drop_blobs("state", previous)
        for old in range(max(1, previous - 1), round_ - 1):
            await self.records.drop_blobs("results", old)

    async def _finish(self, worker: Worker) -> None:
        """The last round is certified: evaluate, draw, keep."""
        self.metrics = await worker.evaluate(self.state.params)
        self.metrics_round = self.head.round
        await self._snapshot()
        folder = self.deps.artifacts / self.manifest.job.name
        self.artifact_paths = await worker.artifacts(self.state.params, str(folder))
        self.state_name = "done"
        self.reason = "halted by vote" if self.head.halted else ""
        self.deps.on_event("job_done", round=self.head.round, **dict(self.metrics))
