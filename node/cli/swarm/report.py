"""What a local swarm achieved: verified, counted and written down."""

import shutil
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from node.cli.shared import format_bytes, format_number, short_id
from node.cli.swarm.plan import Plan
from node.cli.swarm.verify import verify_member
from node.cli.swarm.watch import MEMORY_METRIC, Watch
from node.observe.status import JobStatus
from node.types import PeerId

if TYPE_CHECKING:
    from node.jobs.verify_folder import FolderReport

Result = dict[str, Any]


def make_result(plan: Plan, watch: Watch, *, wall_s: float) -> Result:
    """The run as one JSON object; agreement is read from the folders of the stopped nodes.

    Bytes are means over the honest nodes and the rounds. The dense exchange that they are compared
    with is a butterfly all-reduce of d float32: each node sends 2 * 4 * d * (n - 1) / n bytes.
    """
    jobs = [member.job for member in watch.honest]
    known: list[JobStatus] = [job for job in jobs if job is not None]
    reports = {member.peer: verify_member(member.data) for member in watch.honest}
    roots = {peer: report.state_root for peer, report in sorted(reports.items())}
    rounds = {report.round for report in reports.values()}
    agreement = (
        all(report.agreement for report in reports.values())
        and len(set(roots.values())) == 1
        and rounds == {plan.manifest.job.rounds}
    )
    params = max((job.params for job in known), default=0)
    up = _mean(job.bytes_up / max(job.rounds, 1) for job in known)
    return {
        "rounds": min(rounds, default=0),
        "wall_s": wall_s,
        "ready_s": watch.ready_s,
        "round_s_median": _median(s for job in known for s in job.round_seconds),
        "metrics": {
            name: _median(job.metrics[name] for job in known if name in job.metrics)
            for name in sorted({name for job in known for name in job.metrics})
        },
        "credits": {
            peer: _credits(reports, peer) for peer in sorted(m.peer for m in watch.members)
        },
        "state_roots": roots,
        "agreement": agreement,
        "honest": [member.peer for member in watch.honest],
        "byzantine": [member.peer for member in watch.members if member.byzantine],
        "params": params,
        "bytes_up_per_node_per_round": up,
        "bytes_dense_fp32_per_round": 2 * 4 * params * (plan.nodes - 1) / plan.nodes,
        "bits_per_param_up": 8 * up / params if up is not None and params else None,
        "refusals": _refusals(known),
        "weights": _weights(watch),
        "bans": dict(max(known, key=lambda job: len(job.bans)).bans) if known else {},
    }


def save_pictures(plan: Plan, watch: Watch) -> list[Path]:
    """Copy the artifacts of the first honest node that has some into the run's folder."""
    for member in watch.honest:
        sources = [Path(path) for path in (member.job.artifacts if member.job else ())]
        sources = [path for path in sources if path.is_file()]
        if sources:
            folder = plan.folder / "pictures"
            folder.mkdir(exist_ok=True)
            return [Path(shutil.copy2(path, folder)) for path in sources]
    return []


def print_summary(result: Result, watch: Watch, pictures: Sequence[Path], out: TextIO) -> None:
    """The result in a few lines."""
    metrics = result["metrics"]
    lines = [
        f"{result['rounds']} rounds in {result['wall_s']:.1f} s"
        f" ({format_number(result['round_s_median'], '.2f')} s a round, all nodes ready after"
        f" {format_number(result['ready_s'], '.1f')} s)",
        _metrics_line(metrics),
        _agreement_line(result),
    ]
    up, dense = result["bytes_up_per_node_per_round"], result["bytes_dense_fp32_per_round"]
    if MEMORY_METRIC in metrics:
        made = ", ".join(f"{short_id(p)} {c:.1f}" for p, c in result["credits"].items())
        lines.append(f"{metrics[MEMORY_METRIC]:.0f} entries in the shared memory; credits: {made}")
    elif up and dense:
        lines.append(
            f"{format_bytes(up)} up per node and round, {result['bits_per_param_up']:.2f} bits per"
            f" parameter; dense fp32 all-reduce: {format_bytes(dense)} ({dense / up:.1f} x)"
        )
    for reason, count in sorted(result["refusals"].items()):
        lines.append(f"refused {count} x {reason}")
    for peer in result["byzantine"]:
        weight, share = result["weights"][peer], 1 / len(watch.members)
        lines.append(f"mean weight of {short_id(peer)}: {weight:.3f} (equal shares: {share:.3f})")
    for peer, round_ in sorted(result["bans"].items()):
        lines.append(f"banned {short_id(peer)} in round {round_}")
    lines += [f"note: {note}" for note in watch.notes]
    if pictures:
        lines.append(f"pictures: {pictures[0].parent}")
    print("\n".join(lines), file=out, flush=True)


def _metrics_line(metrics: Mapping[str, float | None]) -> str:
    if "psnr_db" in metrics:
        psnr, loss = metrics["psnr_db"], metrics.get("loss")
        return f"PSNR {format_number(psnr, '.2f')} dB, loss {format_number(loss, '.6f')}"
    told = [f"{name} {format_number(value, '.4g')}" for name, value in sorted(metrics.items())]
    return ", ".join(told) or "no metrics"


def _credits(reports: Mapping[str, "FolderReport"], peer: str) -> float:
    """What the verified rounds minted for ``peer``, by the longest of the chains."""
    longest = max(reports.values(), key=lambda report: report.round)
    return longest.credits.get(PeerId(peer), 0) / 1e6


def _agreement_line(result: Result) -> str:
    honest = len(result["honest"])
    if result["agreement"]:
        root = next(iter(result["state_roots"].values()))
        return f"verified: {honest} honest nodes hold one state, root {root[:16]}"
    roots = ", ".join(f"{short_id(p)} {r[:16] or '-'}" for p, r in result["state_roots"].items())
    return f"NOT VERIFIED: the honest nodes' certificates or states differ: {roots}"


def _weights(watch: Watch) -> dict[str, float]:
    """Peer -> mean weight of its contribution over the rounds; a median over the honest nodes."""
    told = [member.job.weights_mean for member in watch.honest if member.job]
    return {
        member.peer: _median(means.get(member.peer, 0.0) for means in told if means) or 0.0
        for member in watch.members
    }


def _refusals(jobs: Sequence[JobStatus]) -> dict[str, int]:
    """Reason -> count over the certified rounds, which every honest node has alike."""
    if not jobs:
        return {}
    return dict(sorted(max(jobs, key=lambda job: job.metrics_round).refusals.items()))


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None
