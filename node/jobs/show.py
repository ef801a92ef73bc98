"""A runner's state as the plain values that status shows."""

from collections.abc import Callable, Mapping, Sequence

from node.identity import peer_id_of, public_key_of
from node.jobs.runner import JobRunner
from node.membership.view import View
from node.observe.status import JobStatus, PeerStatus
from node.ports import Transport
from node.types import PeerId


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
    is_open = runner.head.admission.mode == "open"
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
        probation={peer_id_of(m.key): m.passed for m in runner.head.probation.members},
        audits_needed=runner.head.admission.audits if is_open else 0,
        rule_liars=runner.head.liars,
    )


def peer_statuses(
    view: View,
    transport: Transport,
    now: float,
    runners: Sequence[JobRunner],
    errors: Mapping[PeerId, Mapping[str, int]],
    why_banned: Callable[[PeerId], str],
) -> list[PeerStatus]:
    """What ``artel peers`` shows.

    Args:
        view: the peers known.
        transport: traffic and links.
        now: unix seconds.
        runners: the node's jobs.
        errors: protocol errors by peer and reason.
        why_banned: why a peer is banned, in words; empty: it is not.
    """
    connected, traffic = set(transport.connected()), transport.traffic()
    shown: list[PeerStatus] = []
    for peer, known in view.known():
        record = known.record
        up, down = traffic.get(peer, (0, 0))
        shown.append(
            PeerStatus(
                peer=peer,
                addresses=record.addresses if record else (),
                connected=peer in connected,
                score=view.score(peer, now),
                expires_in_s=max(0.0, record.expires_unix_s - now) if record else 0.0,
                bytes_up=up,
                bytes_down=down,
                errors=dict(errors.get(peer, {})),
                serves_any=record is not None and record.serves_any,
                banned=why_banned(peer),
                probation=probation_of(runners, peer),
            )
        )
    return shown


def probation_of(runners: Sequence[JobRunner], peer: PeerId) -> str:
    """Where a peer is on probation, and how far, in words; empty: nowhere."""
    found: list[str] = []
    for runner in runners:
        head = runner.head
        member = head.probation.member(public_key_of(peer))
        if member is not None:
            done = f"{member.passed} of {head.admission.audits}"
            found.append(f"{runner.manifest.job.name} since round {member.since}: {done} audits")
    return "; ".join(found)


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
    warnings += [
        f"{r.manifest.job.name}: nobody gets a place on probation, since the job is not audited: "
        "list peers, or choose the admission mode work"
        for r in runners
        if r.manifest.admission.mode == "open" and r.auditing is not None and not r.auditing.is_on
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
