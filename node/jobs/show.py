"""A runner's state as the plain values that status shows."""

from node.jobs.runner import JobRunner
from node.observe.status import JobStatus


def job_status(runner: JobRunner, electors_here: str) -> JobStatus:
    """What ``artel status`` shows of one job.

    Args:
        runner: the job.
        electors_here: one sentence on which electors are missing, for a job without a group.
    """
    flow = runner.flow
    electorate = runner.head.electorate
    round_ = min(runner.round_now, runner.manifest.job.rounds)
    waiting = runner.progress.state == "waiting" and runner.progress.params > 0
    return JobStatus(
        job=runner.job.hex(),
        name=runner.manifest.job.name,
        workload=runner.manifest.job.workload,
        state=runner.progress.state,
        reason=electors_here if waiting else runner.progress.reason,
        round=round_,
        rounds=runner.manifest.job.rounds,
        phase=flow.phase if flow else ("idle" if runner.progress.state != "running" else "sync"),
        view=flow.machine.view if flow else 0,
        leader=electorate.ids[flow.machine.core.leader] if flow else "",
        electors=electorate.n,
        faulty_max=electorate.f,
        loss=runner.progress.loss,
        metrics=dict(runner.progress.metrics),
        metrics_round=runner.progress.metrics_round,
        used=runner.progress.used,
        refused=dict(runner.progress.refused),
        refusals=dict(runner.head.refusals),
        skips=runner.head.skips,
        bytes_up=runner.counters.bytes_up,
        bytes_down=runner.counters.bytes_down,
        calls=runner.counters.calls,
        round_seconds=tuple(runner.progress.round_seconds),
        params=runner.progress.params,
        state_root=runner.head.state_root.hex() if runner.head.state_root else "",
        artifacts=tuple(runner.progress.artifacts),
        weights=dict(runner.progress.weights),
        audits=runner.progress.audits.shown(),
        convicted={str(p): r for p, r in runner.progress.audits.convicted.items()},
    )
