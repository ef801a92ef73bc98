"""What a run showed: one JSON object with documented keys, and Markdown made of it.

Everything but ``wall_s`` is the same for the same seed. docs/simulator.md lists the keys.
"""

import itertools
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from node import __version__
from simulator.report.recorder import Point, Recorder
from simulator.report.spans import spans
from simulator.report.text import to_markdown
from simulator.run import Outcome
from simulator.scenario import Scenario

FORMAT = "artel-sim-report/1"
"""The number grows when a key changes its meaning or goes."""

Report = dict[str, Any]


def outcome_json(outcome: Outcome) -> Report:
    """The fields of ``artel sim run --json``; numbers that are not finite become null."""
    return {
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "ok": outcome.ok,
        "violations": [
            {"at_s": v.at_s, "invariant": v.invariant, "text": v.text} for v in outcome.violations
        ],
        "rounds": outcome.rounds,
        "virtual_s": outcome.virtual_s,
        "wall_s": outcome.wall_s,
        "events": outcome.events,
        "trace_digest": outcome.trace_digest,
        "metrics": {name: _finite(value) for name, value in sorted(outcome.metrics.items())},
        "bans": dict(sorted(outcome.bans.items())),
        "recovery_virtual_s": outcome.recovery_virtual_s,
        "not_shown": list(outcome.not_shown),
    }


def make_report(scenario: Scenario, outcome: Outcome, seen: Recorder, replay: str) -> Report:
    """The whole report.

    Args:
        scenario: what was asked for.
        outcome: how it ended.
        seen: what happened.
        replay: the command that gives the same run again.
    """
    end_s = outcome.virtual_s
    return outcome_json(outcome) | {
        "format": FORMAT,
        "version": __version__,
        "about": scenario.about,
        "replay": replay,
        "rounds_wanted": scenario.rounds,
        "nodes": [_node(scenario, outcome, seen, index) for index in range(len(seen.world.nodes))],
        "round_log": _round_log(seen),
        "pause_s_max": _pause_s_max(seen),
        "losses": _points(seen.losses),
        "metric_points": {name: _points(seen.metrics[name]) for name in sorted(seen.metrics)},
        "traffic": [
            {"node": node, "at_s": at_s, "up": up, "down": down}
            for node, samples in sorted(seen.traffic.items())
            for at_s, up, down in samples
        ],
        "calls": {
            method: {"requests": count, "bytes": size}
            for method, (count, size) in sorted(seen.calls.items())
        },
        "faults": [{"at_s": at_s, "what": what} for at_s, what in seen.faults],
        "fault_spans": [
            {"what": s.what, "from_s": s.from_s, "to_s": end_s if s.to_s is None else s.to_s}
            for s in spans(seen.faults)
        ],
        "lives": lives(seen, end_s),
        "recoveries": [
            {
                "at_s": r.at_s,
                "what": r.what,
                "until_round": r.until_round,
                "took_s": r.took_s,
                "missing": [_name(seen, node) for node in r.waiting],
            }
            for r in seen.recoveries
        ],
        "peer_errors": [
            {
                "by": _name(seen, by),
                "of": _name(seen, of),
                "reason": reason,
                "count": blame.count,
                "first_s": blame.first_s,
                "text": blame.text,
            }
            for (by, of, reason), blame in sorted(seen.blames.items())
        ],
        "job_failures": [
            {"at_s": at_s, "node": _name(seen, node), "reason": reason}
            for at_s, node, reason in seen.failures
        ],
    }


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.json`` and ``report.md`` into ``folder``, which is made if need be.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "report.json", folder / "report.md"]
    files[0].write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    files[1].write_text(to_markdown(report))
    return files


def lives(seen: Recorder, end_s: float) -> list[Mapping[str, Any]]:
    """From when to when each node ran; ``end``: ``crash``, or ``run`` where the run ended it."""
    found: list[Mapping[str, Any]] = []
    begun: dict[int, float] = {}
    for at_s, node, what in seen.lives:
        if what == "start":
            begun[node] = at_s
        elif node in begun:
            end = "run" if at_s >= end_s else what
            found.append({"node": node, "from_s": begun.pop(node), "to_s": at_s, "end": end})
    found += [
        {"node": node, "from_s": at_s, "to_s": end_s, "end": "run"}
        for node, at_s in sorted(begun.items())
    ]
    return found


def _node(scenario: Scenario, outcome: Outcome, seen: Recorder, index: int) -> Report:
    name = _name(seen, index)
    mine = [life for life in lives(seen, outcome.virtual_s) if life["node"] == index]
    rounds = seen.rounds.values()
    used = [r for r in rounds if not r.skip and index in r.electors and index not in r.refused]
    weights = [r.weights[index] for r in used if index in r.weights]
    attack = scenario.liars.get(index)
    last = seen.traffic.get(index, [(0.0, 0, 0)])[-1]
    return {
        "name": name,
        "role": "elector" if index < scenario.nodes else "follower",
        "attack": attack.name if attack else None,
        "lives": len(mine),
        "crashes": sum(life["end"] == "crash" for life in mine),
        "up_s": round(sum(life["to_s"] - life["from_s"] for life in mine), 6),
        "round": seen.newest.get(index, 0),
        "rounds_certified": seen.certified.get(index, 0),
        "rounds_used": len(used),
        "weight_mean": statistics.fmean(weights) if weights else None,
        "refused": _count(r.refused[index] for r in rounds if index in r.refused),
        "blamed": _sum((reason, b.count) for (_, of, reason), b in seen.blames.items()
                       if of == index),
        "banned": outcome.bans.get(name),
        "bytes_up": last[1],
        "bytes_down": last[2],
    }  # fmt: skip


def _round_log(seen: Recorder) -> list[Report]:
    return [
        {
            "round": r.round,
            "first_s": r.first_s,
            "last_s": r.last_s,
            "seconds_median": statistics.median(r.seconds),
            "seconds_max": max(r.seconds),
            "view": r.view,
            "used": r.used,
            "skip": r.skip or None,
            "refused": {_name(seen, node): why for node, why in sorted(r.refused.items())},
        }
        for _, r in sorted(seen.rounds.items())
    ]


def _pause_s_max(seen: Recorder) -> float | None:
    """The longest time without a new certificate, from the start on."""
    times = [0.0, *sorted(r.first_s for r in seen.rounds.values())]
    return max((b - a for a, b in itertools.pairwise(times)), default=None)


def _points(points: Iterable[Point]) -> list[Report]:
    return [
        {"node": p.node, "at_s": p.at_s, "round": p.round, "value": _finite(p.value)}
        for p in points
    ]


def _name(seen: Recorder, node: int) -> str:
    return seen.world.nodes[node].name if node >= 0 else "a stranger"


def _count(reasons: Iterable[str]) -> dict[str, int]:
    return _sum((reason, 1) for reason in reasons)


def _sum(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for reason, count in sorted(pairs):
        sums[reason] = sums.get(reason, 0) + count
    return sums


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
