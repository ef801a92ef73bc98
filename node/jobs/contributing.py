"""One node's contribution to a round: train, encode, hand it to the round; then evaluate."""

import asyncio
from dataclasses import dataclass

from node.jobs.auditing import Auditing
from node.jobs.closed import Closed
from node.jobs.deps import RunnerDeps
from node.jobs.encoding import ENCODE_S_PER_PARAM, Replayable, data_seed, encode_update
from node.jobs.manifest import JobManifest
from node.jobs.progress import Progress
from node.jobs.remembering import Remembering
from node.jobs.replica import Replica
from node.jobs.round_flow import RoundFlow
from node.ports import TrainRequest, Worker

PARTS_KEPT_BYTES_MAX = 4 << 20
"""Own parts below this are kept for a restart; losing larger ones costs one contribution."""
HELD_UP_S = 0.01
"""Who had to wait for the worker for less than this was not held up."""
TRAIN_SHARE = 0.8
"""Of the time until commitments are due; the rest is for encoding and sending."""


@dataclass
class Contributor:
    """What this node does for one job besides agreeing on it."""

    deps: RunnerDeps
    manifest: JobManifest
    shown: Progress
    worker: Worker
    replica: Replica
    remembering: Remembering | None
    """The job's shared memory, if it has one."""
    auditing: Auditing
    _usual_s: float | None = None
    """How long the last training took that nothing held up."""
    _undo: int | None = None
    """Round whose steps the worker's local state must forget: they were not used."""
    _anew: bool = False
    """The worker's local state must start anew."""

    def closed(self, closed: Closed, *, used: bool) -> None:
        """A round was certified; ``used``: with our contribution.

        The worker's local state follows before its next steps: it may still be at those of this
        round. It is kept after a SKIP, since the replica goes on; after the round that follows one
        it starts anew, since nobody could audit what it carries on.
        """
        if not closed.decision.skip:
            if closed.after_skip:
                self._anew = True
            elif not used and self._undo is None:
                self._undo = closed.decision.round
        self.auditing.auditor.keep_worker()  # for the next steps, which come first
        self.auditing.closed(closed)

    def idle(self) -> None:
        """There is nothing to train in this round."""
        self.auditing.auditor.give_worker()

    async def caught_up(self, round_: int) -> None:
        """Others proved the rounds up to ``round_``: the worker's local state starts anew."""
        await self.worker.reset()
        self._undo, self._anew = None, False
        self.auditing.missed(round_)

    async def _settled(self) -> None:
        if self.auditing.is_on and self._anew:
            await self.worker.reset()
        elif self.auditing.is_on and self._undo is not None:
            await self.worker.revert(self._undo)
        self._undo, self._anew = None, False

    async def contribute(self, flow: RoundFlow) -> None:
        """Local steps from the state, until the step budget or the deadline; commit to the result.

        The data of each step is drawn by hash of the last decision and the peer: independent over
        peers, and replayable. A worker with a shared memory takes its steps all the time; a round
        waits until it has taken the budget since the last one. Peers exchange while the state that
        the round started from is evaluated.
        """
        context, replica, manifest = flow.context, self.replica, self.manifest
        round_ = context.round
        own = self.deps.signer.peer_id
        self.deps.failpoint("train", round_)
        within_s = min(manifest.round.train_s_max, TRAIN_SHARE * context.deadlines.commit_s)
        if self.remembering is not None:
            await self.remembering.progress(manifest.round.steps, within_s)
        keeps = self.auditing.is_on and not replica.after_skip
        try:
            waited_s = await self._take_worker()
            reply = await self.worker.train(
                TrainRequest(
                    params=replica.state.params,
                    round=round_,
                    rounds=manifest.job.rounds,
                    data_seed=data_seed(context.prev, own),
                    steps=manifest.round.steps,
                    deadline_s=self._left_s(within_s, waited_s),
                    continued=replica.skipped,
                    keep=keeps,
                )
            )
        finally:
            self.auditing.auditor.give_worker()
        if waited_s < HELD_UP_S:
            self._usual_s = reply.seconds
        flow.reached("update")
        self.shown.loss = reply.loss
        update = await self.deps.behaviour.update(round_, reply.update)
        local = replica.local
        memory = self.remembering.lines() if self.remembering is not None else ()
        replayable = None
        if keeps:
            shown = self.worker.compute_class
            replayable = Replayable(reply.local_before, reply.local_after, shown)
        encoded = await self.deps.ports.compute.maths(
            lambda: encode_update(
                replica.g,
                update,
                local,
                round_=round_,
                peer=own,
                prev=context.prev,
                root=context.state_root,
                steps=reply.steps_done,
                loss=reply.loss,
                memory=memory,
                replayable=replayable,
                cleared=self.auditing.clearing(replica.head),
            ),
            cost_s=replica.g.d * ENCODE_S_PER_PARAM,
        )
        replica.encoded(context.prev, encoded)
        flow.update(encoded)
        if sum(len(part) for part in encoded.parts) <= PARTS_KEPT_BYTES_MAX:
            await flow.records.put_parts(round_, encoded.parts)
        certified = round_ - 1
        if certified > 0 and certified % manifest.round.evaluate_every == 0:
            await self.evaluate(certified)
        every = manifest.round.artifacts_every
        if every and certified > 0 and certified % every == 0:
            await self.draw()

    def _left_s(self, within_s: float, waited_s: float) -> float:
        """How long to train after a replay held us up: until about when we are done otherwise.

        Others wait for the slowest f only half as long as for the rest: who trains its whole time
        after a replay is left out of the round.
        """
        if waited_s < HELD_UP_S:
            return within_s
        usual_s = within_s if self._usual_s is None else min(within_s, self._usual_s)
        return max(0.0, usual_s - waited_s)

    async def _take_worker(self) -> float:
        """Have the worker to ourselves, settled; seconds until then."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self.auditing.auditor.take_worker()
        await self._settled()
        return loop.time() - started

    async def evaluate(self, round_: int) -> None:
        """Show how good the state of ``round_`` is, and how large the shared memory."""
        metrics = dict(await self.worker.evaluate(self.replica.state.params))
        if self.remembering is not None:
            held = self.remembering.status()
            metrics |= {"memory_entries": float(held.entries), "memory_lag": float(held.lag)}
        self.shown.metrics, self.shown.metrics_round = metrics, round_

    async def draw(self) -> None:
        """Let the workload write what is worth seeing of the state."""
        folder = self.deps.artifacts / self.manifest.job.name
        params = self.replica.state.params
        self.shown.artifacts = await self.worker.artifacts(params, str(folder))

    async def finish(self) -> None:
        """The last round is certified: stop, evaluate, draw, keep."""
        self.idle()
        if self.remembering is not None:
            self.remembering.finish()
        await self.evaluate(self.replica.head.round)
        await self.replica.snapshot()
        await self.draw()
