"""What a round begins with: what the disk kept of it, and the evidence against its electors."""

from node.exchange.arriving import Result
from node.exchange.core import RoundContext
from node.exchange.round import RoundMachine
from node.identity import Signer
from node.jobs.deps import RunnerDeps
from node.jobs.geometry import Geometry
from node.jobs.records import JobRecords
from node.jobs.replica import Replica
from node.jobs.round_work import RoundWork
from node.jobs.work import result_root


async def begin_round(
    context: RoundContext,
    g: Geometry,
    replica: Replica,
    records: JobRecords,
    deps: RunnerDeps,
    signer: Signer | None,
) -> tuple[RoundMachine, RoundWork]:
    """The machine and the work of a round, as a restart finds them.

    Args:
        context: facts of the round.
        g: the job's geometry for the round's electorate.
        replica: the state before the round.
        records: the job's disk.
        deps: the node.
        signer: signs for this node; None for a node that may not vote.
    """
    round_ = context.round
    slots, lock = await records.slots(round_)
    kept = await records.results(round_, g.rules.result_bytes)
    results: list[Result] = [
        (p, result_root(g, round_, p, data), data) for p, data in enumerate(kept or ())
    ]
    liar = deps.behaviour
    machine = RoundMachine(
        context,
        signer,
        deps.verify,
        slots,
        lock,
        results,
        deps.proofs.against(context.electorate, context.job),
        liar.signs,
    )
    work = RoundWork(machine.core, g, replica.state, deps.ports.compute, liar)
    if "commit" in slots:
        work.own_parts = await records.parts(round_, g.rules.part_bytes) or ()
    return machine, work
