"""Tables and curves of a benchmark of NAIT."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from workloads.bench.published import COLUMNS, PAPER, SCORES
from workloads.bench.scores import interquartile_mean, mean, middle, normalise

BESIDE = {
    "standard": ("SimPLe", "DER", "CURL", "DrQ(eps)", "SPR", "IRIS", "EfficientZero"),
    "deterministic": ("AKR2",),
}
"""Published columns that were made under a protocol's rules; others are not comparable."""


def summarise(
    results: Sequence[dict[str, Any]], games: Sequence[str], protocol: str
) -> dict[str, Any]:
    """Scores by game, human-normalised aggregates, and speed.

    A run's score is the mean of its last ten finished training episodes: it never stops learning.
    The published columns are summed up over the same games.
    """
    rows, runs = [], {}
    for game in games:
        scores = [r["score"] for r in results if r["game"] == game]
        if not scores:
            continue
        known = dict(zip(COLUMNS, SCORES[game], strict=True))
        random, human = known["random"], known["human"]
        runs[game] = [normalise(score, random, human) for score in scores]
        rows.append({
            "game": game,
            "score": fmean(scores),
            "scores": scores,
            "hns": fmean(runs[game]),
            "published": {name: known[name] for name in ("random", "human", *BESIDE[protocol])},
        })  # fmt: skip
    aggregates = {"NAIT here": _aggregate(runs)}
    for name in BESIDE[protocol]:
        at = COLUMNS.index(name)
        theirs = {g: [normalise(SCORES[g][at], *SCORES[g][:2])] for g in runs}
        aggregates[name] = _aggregate(theirs)
        aggregates[name]["iqm"] = None  # needs their single runs
    if len(runs) == len(SCORES):
        aggregates["NAIT, paper"] = {**PAPER, "iqm": None}
    return {
        "protocol": protocol,
        "steps": sorted({r["steps"] for r in results}),
        "settings": results[0]["settings"],
        "seeds": sorted({r["seed"] for r in results}),
        "runs": len(results),
        "rows": rows,
        "aggregates": aggregates,
        "wall_s": sum(r["wall_s"] for r in results),
        "cpu_s": sum(r["cpu_s"] for r in results),
        "speed": [
            {k: r[k] for k in ("game", "seed", "actions", "steps_per_cpu_s", "wall_s", "cpu_s")}
            for r in results
        ],
    }


def _aggregate(runs: dict[str, list[float]]) -> dict[str, float | None]:
    return {"mean": mean(runs), "median": middle(runs), "iqm": interquartile_mean(runs)}


def to_markdown(summary: dict[str, Any]) -> str:
    """The summary for people."""
    beside = BESIDE[summary["protocol"]]
    steps = ", ".join(f"{count:,}" for count in summary["steps"])
    seeds = len(summary["seeds"])
    lines = [
        f"# NAIT, {summary['protocol']} protocol: {len(summary['rows'])} games, {seeds} seed(s), "
        f"{steps} agent steps",
        "",
        "Score: mean of the last ten finished training episodes. HNS: (score - random) / (human -"
        " random).",
        "",
    ]
    lines += _table(
        ["game", "random", "human", "NAIT here", "HNS", *beside],
        [
            [
                row["game"],
                _number(row["published"]["random"]),
                _number(row["published"]["human"]),
                " / ".join(_number(score) for score in row["scores"]),
                f"{row['hns']:.3f}",
                *(_number(row["published"][name]) for name in beside),
            ]
            for row in summary["rows"]
        ],
    )
    lines += ["", "Human-normalised, over these games:", ""]
    lines += _table(
        ["", "mean", "median", "IQM"],
        [
            [name, *("-" if a[k] is None else f"{a[k]:.3f}" for k in ("mean", "median", "iqm"))]
            for name, a in summary["aggregates"].items()
        ],
    )
    lines += ["", "Speed, one thread a run:", ""]
    lines += _table(
        ["game", "seed", "actions", "agent steps per CPU second", "wall s"],
        [
            [s["game"], *(str(s[k]) for k in ("seed", "actions", "steps_per_cpu_s", "wall_s"))]
            for s in summary["speed"]
        ],
    )
    return "\n".join(lines) + "\n"


def curves(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Running mean scores over agent steps, one panel a game."""
    from matplotlib.figure import Figure

    from workloads.nait.pictures import running_mean

    games = sorted({r["game"] for r in results})
    columns = min(4, len(games))
    rows = -(-len(games) // columns)
    figure = Figure(figsize=(3 * columns, 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(games) :]:
        panel.set_axis_off()
    for panel, game in zip(panels.flat, games, strict=False):
        for result in (r for r in results if r["game"] == game):
            ends = [episode[0] for episode in result["episodes"]]
            panel.plot(ends, running_mean([e[1] for e in result["episodes"]]), linewidth=1)
        panel.axhline(SCORES[game][0], color="0.6", linewidth=0.8, linestyle=":")
        panel.set_title(game, fontsize=9)
        panel.tick_params(labelsize=7)
    figure.savefig(path, dpi=110)


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
