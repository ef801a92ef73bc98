"""A runner's state as the plain values that status shows."""

from collections.abc import Sequence

from node.identity import peer_id_of
from node.jobs.runner import JobRunner
from node.observe.status import JobStatus


def job_status(runner: JobRunner, electors_here: str) -> JobStatus:
    """What ``artel status`` shows of one job.

    Args:
        runner: the job.
        electors_here: one sentence on which electors are missing, for a job without a group.
    """
    flow = runner.flow
    # Between two rounds the head may be one electorate further than the round that ends.
    electorate = flow.context.electorate if flow else runner.head.electorate
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
        weights_mean=runner.progress.weights_mean,
        bans={peer_id_of(key): round_ for key, round_ in runner.head.bans.items()},
        audits=runner.progress.audits.shown(),
        convicted={str(p): r for p, r in runner.progress.audits.convicted.items()},
        assurance=runner.progress.assurance,
        rule_liars=runner.head.liars,
    )


def warnings_of(runners: Sequence[JobRunner], *, slots_lost: bool, convicted: bool) -> list[str]:
    """What an operator should know, in sentences.

    Args:
        runners: the node's jobs.
        slots_lost: the key is older than the slot log.
        convicted: evidence against the node's own key is held.
    """
    warnings = [
        f"{r.manifest.job.name}: {r.progress.warning}" for r in runners if r.progress.warning
    ]
    warnings += [
        f"{r.manifest.job.name}: shared memory: {r.remembering.trouble}"
        for r in runners
        if r.remembering is not None and r.remembering.trouble
    ]
    if convicted:
        warnings.append(
            "evidence convicts this node's own key: two processes sign with it, or its folder was "
            "restored from a copy; peers refuse it for good (see `artel evidence list`)"
        )
    if slots_lost:
        warnings.append(
            "the slot log is gone but the key is not: this node signs nothing, it only follows"
        )
    for runner in runners:
        electorate = runner.head.electorate
        if electorate.f == 0:
            name = runner.manifest.job.name
            warnings.append(f"{name}: with {electorate.n} electors one liar suffices")
    return warnings
