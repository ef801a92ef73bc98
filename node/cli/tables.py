"""Statuses as rich tables: plain values in, something to print out."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table

from node.cli.shared import format_bytes, format_number, short_id
from node.observe.status import JobStatus, NodeStatus, PeerStatus

ID_CHARS_SHOWN = 12


def console() -> Console:
    """A console on stdout that takes text as it is: what a peer wrote is not markup."""
    return Console(markup=False, highlight=False, emoji=False)


def status_view(status: NodeStatus) -> RenderableType:
    """The whole node."""
    facts = _facts()
    facts.add_row("peer", status.peer)
    facts.add_row("version", status.version)
    facts.add_row("up", f"{status.uptime_s:.0f} s, {'ready' if status.ready else 'starting'}")
    facts.add_row("swarm", status.membership)
    for address in status.addresses:
        facts.add_row("address", address)
    for warning in status.warnings:
        facts.add_row("warning", warning)
    parts: list[RenderableType] = [facts]
    if status.jobs:
        parts.append(job_table(status.jobs))
    if status.peers:
        parts.append(peer_table(status.peers))
    return Group(*parts)


def job_table(jobs: Sequence[JobStatus]) -> Table:
    """One row a job."""
    table = Table(box=None, header_style="bold")
    for name in ("job", "name", "state", "round", "phase", "loss", "metrics", "used", "up", "down"):
        table.add_column(name)
    for job in jobs:
        table.add_row(
            job.job[:ID_CHARS_SHOWN],
            job.name,
            job.state if not job.reason else f"{job.state}: {job.reason}",
            f"{job.round}/{job.rounds}",
            job.phase,
            format_number(job.loss, ".5f"),
            ", ".join(f"{name} {value:.4g}" for name, value in sorted(job.metrics.items())),
            f"{job.used}/{job.electors}",
            format_bytes(job.bytes_up),
            format_bytes(job.bytes_down),
        )
    return table


def peer_table(peers: Sequence[PeerStatus]) -> Table:
    """One row a peer."""
    table = Table(box=None, header_style="bold")
    any_on_probation = any(peer.probation for peer in peers)
    names = ["peer", "link", "serves", "score", "up", "down", "errors", "banned"]
    for name in (*names, *(["probation"] if any_on_probation else []), "address"):
        table.add_column(name)
    for peer in peers:
        table.add_row(
            peer.peer,
            "up" if peer.connected else "-",
            "any" if peer.serves_any else "listed",
            f"{peer.score:+.1f}",
            format_bytes(peer.bytes_up),
            format_bytes(peer.bytes_down),
            ", ".join(f"{reason} x{count}" for reason, count in sorted(peer.errors.items())),
            peer.banned or "-",
            *([peer.probation or "-"] if any_on_probation else []),
            peer.addresses[0] if peer.addresses else "-",
        )
    return table


def job_details(job: JobStatus) -> RenderableType:
    """One job, all of it."""
    facts = _facts()
    facts.add_row("job", job.job)
    facts.add_row("name", f"{job.name} ({job.workload}, {job.params} parameters)")
    facts.add_row("state", job.state if not job.reason else f"{job.state}: {job.reason}")
    facts.add_row("round", f"{job.round} of {job.rounds}, {job.phase}, view {job.view}")
    facts.add_row(
        "electors",
        f"{job.electors}, survives {job.faulty_max} liars; the rule bears {job.rule_liars}",
    )
    facts.add_row("used", f"{job.used} in the last certificate, {job.skips} rounds skipped")
    facts.add_row("results", job.assurance or "-")
    for peer, weight in sorted(job.weights.items()):
        mean = job.weights_mean.get(peer, 0.0)
        facts.add_row("weight", f"{short_id(peer)}: {weight:.3f}, mean {mean:.3f}")
    for peer, reason in sorted(job.refused.items()):
        facts.add_row("refused", f"{short_id(peer)}: {reason}")
    for peer, passed in sorted(job.probation.items()):
        text = f"{short_id(peer)}: {passed} of {job.audits_needed} audits passed"
        facts.add_row("on probation", text)
    for peer, round_ in sorted(job.bans.items()):
        facts.add_row("banned", f"{short_id(peer)}: by the certificate of round {round_}")
    if job.audits:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(job.audits.items()))
        facts.add_row("audits", counts)
    for peer, round_ in sorted(job.convicted.items()):
        facts.add_row("convicted", f"{short_id(peer)}: false work in round {round_}")
    facts.add_row("loss", format_number(job.loss, ".6f"))
    for name, value in sorted(job.metrics.items()):
        facts.add_row(name, f"{value:.6g} (round {job.metrics_round})")
    facts.add_row(
        "traffic", f"{format_bytes(job.bytes_up)} up, {format_bytes(job.bytes_down)} down"
    )
    facts.add_row("state root", job.state_root or "-")
    for path in job.artifacts:
        facts.add_row("artifact", path)
    return facts


def _facts() -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table
