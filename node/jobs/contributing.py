"""One node's contribution to one round: train, encode, hand it to the round; then evaluate."""

from node.jobs.deps import RunnerDeps
from node.jobs.manifest import JobManifest
from node.jobs.progress import Progress
from node.jobs.replica import Replica
from node.jobs.round_flow import RoundFlow
from node.jobs.work import encode_update
from node.merkle import digest
from node.ports import TrainRequest, Worker

PARTS_KEPT_BYTES_MAX = 4 << 20
"""Own parts below this are kept for a restart; losing larger ones costs one contribution."""
TRAIN_SHARE = 0.8
"""Of the time until commitments are due; the rest is for encoding and sending."""


async def contribute(
    deps: RunnerDeps,
    manifest: JobManifest,
    shown: Progress,
    worker: Worker,
    replica: Replica,
    flow: RoundFlow,
) -> None:
    """Local steps from the state, until the step budget or the deadline; commit to the result.

    The data of each step is drawn by hash of the last decision and the peer: independent over
    peers, and replayable. Peers exchange while the state that the round started from is evaluated.
    """
    context = flow.context
    round_ = context.round
    own = deps.signer.peer_id
    deps.failpoint("train", round_)
    reply = await worker.train(
        TrainRequest(
            params=replica.state.params,
            round=round_,
            rounds=manifest.job.rounds,
            data_seed=digest("data", context.prev + own.encode()),
            steps=manifest.round.steps,
            deadline_s=min(manifest.round.train_s_max, TRAIN_SHARE * context.deadlines.commit_s),
            continued=replica.skipped,
        )
    )
    flow.reached("update")
    shown.loss = reply.loss
    update = await deps.behaviour.update(round_, reply.update)
    residual = replica.residual
    encoded = await deps.ports.compute.maths(
        lambda: encode_update(
            replica.g,
            update,
            residual,
            round_=round_,
            peer=own,
            prev=context.prev,
            root=context.state_root,
            steps=reply.steps_done,
            loss=reply.loss,
        ),
        cost_s=replica.g.d * 5e-9,
    )
    replica.encoded(context.prev, encoded)
    flow.update(encoded)
    if sum(len(part) for part in encoded.parts) <= PARTS_KEPT_BYTES_MAX:
        await flow.records.put_parts(round_, encoded.parts)
    certified = round_ - 1
    if certified > 0 and certified % manifest.round.evaluate_every == 0:
        shown.metrics = await worker.evaluate(replica.state.params)
        shown.metrics_round = certified
    every = manifest.round.artifacts_every
    if every and certified > 0 and certified % every == 0:
        await draw(deps, manifest, shown, worker, replica)


async def draw(
    deps: RunnerDeps,
    manifest: JobManifest,
    shown: Progress,
    worker: Worker,
    replica: Replica,
) -> None:
    """Let the workload write what is worth seeing of the state."""
    folder = deps.artifacts / manifest.job.name
    shown.artifacts = await worker.artifacts(replica.state.params, str(folder))
