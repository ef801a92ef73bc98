"""Draws a report: learning, rounds, contributions, traffic, lives and faults, one PNG each.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers can
tell apart; what colour says is also said by shape, place or words.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

Report = Mapping[str, Any]

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
)  # fmt: skip
NODES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
"""One colour a node, while there are this many at most; more are drawn alike."""
GREY, PALE = "#9A9A9A", "#E4E4E4"
FAULT = "#B8B8B8"
METRICS_MAX = 3
ROWS_LABELLED_MAX = 64
SPANS_LABELLED_MAX = 60
WIDTH_IN = 9.0
DPI = 110


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what the report has something of; the files, ``folder`` must exist."""
    from simulator.report.text import PLOTS

    makers: dict[str, Callable[[Report], Figure]] = {
        "learning.png": learning,
        "timeline.png": timeline,
        "rounds.png": rounds,
        "contributions.png": contributions,
        "traffic.png": traffic,
    }
    files = []
    for name, title in PLOTS:
        if not _is_empty(report, name):
            figure = makers[name](report)
            figure.suptitle(f"{title}: {report['scenario']}, seed {report['seed']}", fontsize=11)
            figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
            files.append(folder / name)
    return files


def _is_empty(report: Report, name: str) -> bool:
    needs = {"learning.png": "losses", "timeline.png": "lives", "traffic.png": "traffic"}
    return not report[needs.get(name, "round_log")]


def learning(report: Report) -> Figure:
    """Training loss of every honest node, and each metric, by virtual time."""
    honest = _honest(report)
    metrics = list(report["metric_points"].items())[:METRICS_MAX]
    panels = [("training loss", report["losses"])]
    panels += [(f"metric: {name}", points) for name, points in metrics]
    figure = _figure(2.6 * len(panels) + 0.4)
    axes = _stack(figure, len(panels))
    for axis, (name, points) in zip(axes, panels, strict=True):
        values = [p["value"] for p in points if p["node"] in honest and p["value"] is not None]
        _lines(axis, points, honest)
        axis.set_ylabel(name)
        if values and min(values) > 0 and max(values) > 20 * min(values):
            axis.set_yscale("log")
        _shade(axis, report)
    axes[-1].set_xlabel("virtual time (s)")
    _legend(figure, axes[0], [*_node_handles(report, honest), *_fault_handle(report)])
    return figure


def _lines(axis: Axes, points: Sequence[Report], nodes: Sequence[int]) -> None:
    """A line a node, broken where it missed rounds."""
    few = len(nodes) <= len(NODES)
    for place, node in enumerate(nodes):
        mine = [p for p in points if p["node"] == node and p["value"] is not None]
        steps = [after["round"] - p["round"] for p, after in pairwise(mine)]
        gaps = [n for n, step in enumerate(steps, 1) if step > min(steps)]
        axis.plot(
            np.insert([p["at_s"] for p in mine], gaps, np.nan),
            np.insert([p["value"] for p in mine], gaps, np.nan),
            color=NODES[place] if few else BLUE,
            lw=1.4 if few else 0.7,
            alpha=0.9 if few else 0.35,
            marker="o",
            ms=3 if few else 1.5,
        )
    axis.grid(color=PALE, lw=0.6)
    axis.set_xlim(left=0)


def rounds(report: Report) -> Figure:
    """How long each round took, at its certificate's time: median and slowest honest node."""
    log = report["round_log"]
    figure = _figure(3.4)
    (axis,) = _stack(figure, 1)
    kinds = (
        ("first leader", BLUE, "o", [e for e in log if not e["view"] and not e["skip"]]),
        ("a later leader (view > 0)", RED, "^", [e for e in log if e["view"] and not e["skip"]]),
        ("skipped", BLACK, "x", [e for e in log if e["skip"]]),
    )
    handles: list[Any] = []
    for name, color, marker, entries in kinds:
        if entries:
            at = [e["first_s"] for e in entries]
            middle = [e["seconds_median"] for e in entries]
            axis.vlines(at, middle, [e["seconds_max"] for e in entries], color=color, lw=0.9)
            handles.append(axis.scatter(at, middle, s=22, color=color, marker=marker, zorder=3))
            handles[-1].set_label(name)
    handles.append(Line2D([], [], color=GREY, lw=0.9, label="up to the slowest node"))
    slowest = max(e["seconds_max"] for e in log)
    if slowest > 20 * min(max(e["seconds_median"], 1e-3) for e in log):
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.08 * slowest)
    axis.set_xlim(left=0)
    axis.set_xlabel("virtual time of the certificate (s)")
    axis.set_ylabel("duration of the round,\nmedian of honest nodes (virtual s)")
    axis.grid(color=PALE, lw=0.6)
    _shade(axis, report)
    _legend(figure, axis, [*handles, *_fault_handle(report)])
    return figure


def contributions(report: Report) -> Figure:
    """A strip a node, a cell a round: used, absent, refused and why, or skipped."""
    electors = [n for n, node in enumerate(report["nodes"]) if node["role"] == "elector"]
    names = [report["nodes"][n]["name"] for n in electors]
    log = report["round_log"]
    reasons = sorted({why for e in log for why in e["refused"].values()} - {"absent"})
    colors = dict(zip(reasons, (RED, ORANGE, PURPLE, BLUE, YELLOW, GREEN), strict=False))
    figure = _figure(1.6 + 0.24 * min(len(electors), ROWS_LABELLED_MAX))
    (axis,) = _stack(figure, 1)
    shown: dict[str, str] = {}
    cells = []
    for entry in log:
        for name in names:
            why = "round skipped" if entry["skip"] else entry["refused"].get(name, "used")
            color = {"used": SKY, "absent": PALE, "round skipped": GREY}.get(why)
            cells.append(to_rgb(shown.setdefault(why, color or colors.get(why, BLACK))))
    edges = [log[0]["round"] - 0.5, *(entry["round"] + 0.5 for entry in log)]
    grid = np.array(cells).reshape(len(log), len(names), 3).transpose(1, 0, 2)
    axis.pcolormesh(edges, np.arange(len(names) + 1) - 0.5, grid, edgecolor="white", lw=0.5)
    axis.set_xlim(log[0]["round"] - 0.5, log[-1]["round"] + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("round")
    _rows(axis, [_label(report, n) for n in electors])
    order = [w for w in ("used", "absent", "round skipped") if w in shown] + reasons
    words = {"used": "used", "absent": "absent (no commitment)", "round skipped": "round skipped"}
    handles = [
        Patch(facecolor=shown[w], edgecolor=GREY, label=words.get(w, f"refused: {w}"))
        for w in order
        if w in shown
    ]
    _legend(figure, axis, handles)
    return figure


def traffic(report: Report) -> Figure:
    """Bytes of each node by virtual time, and in all; framing and replies included."""
    samples = report["traffic"]
    figure = _figure(3.0 + 0.6 + 0.24 * min(len(report["nodes"]), ROWS_LABELLED_MAX))
    rows = len(report["nodes"])
    upper, lower = figure.subplots(
        2, 1, height_ratios=[2.6, 0.6 + 0.24 * min(rows, ROWS_LABELLED_MAX)]
    )
    everybody = range(rows)
    few = rows <= len(NODES)
    for node in everybody:
        mine = [s for s in samples if s["node"] == node]
        at = [s["at_s"] for s in mine]
        liar = report["nodes"][node]["attack"]
        upper.plot(
            at,
            [s["up"] for s in mine],
            color=NODES[node] if few else (RED if liar else BLUE),
            ls="--" if liar else "-",
            lw=1.4 if few else 0.7,
            alpha=0.9 if few else 0.4,
        )
    upper.set_ylabel("sent since the start")
    upper.set_xlabel("virtual time (s)")
    upper.set_xlim(left=0)
    upper.set_ylim(bottom=0)
    upper.grid(color=PALE, lw=0.6)
    upper.yaxis.set_major_formatter(EngFormatter(unit="B"))
    _shade(upper, report)
    _legend(figure, upper, [*_node_handles(report, list(everybody)), *_fault_handle(report)])
    at = [float(n) for n in everybody]
    ups = [node["bytes_up"] for node in report["nodes"]]
    downs = [node["bytes_down"] for node in report["nodes"]]
    lower.barh([y - 0.2 for y in at], ups, height=0.38, color=BLUE, label="sent")
    lower.barh([y + 0.2 for y in at], downs, height=0.38, color=ORANGE, label="received")
    lower.xaxis.set_major_formatter(EngFormatter(unit="B"))
    lower.set_xlabel("bytes in the whole run, framing included")
    lower.grid(axis="x", color=PALE, lw=0.6)
    lower.set_axisbelow(True)
    _rows(lower, [_label(report, n) for n in everybody])
    _legend(figure, lower, lower.get_legend_handles_labels()[0])
    return figure


def timeline(report: Report) -> Figure:
    """When each node ran, above the faults and how long they lasted."""
    spans = report["fault_spans"][:SPANS_LABELLED_MAX]
    nodes = [_label(report, n) for n in range(len(report["nodes"]))]
    figure = _figure(1.3 + 0.24 * (min(len(nodes), ROWS_LABELLED_MAX) + len(spans)))
    (axis,) = _stack(figure, 1)
    for life in report["lives"]:
        liar = report["nodes"][life["node"]]["attack"]
        width = life["to_s"] - life["from_s"]
        axis.barh(life["node"], width, left=life["from_s"], height=0.62, color=RED if liar else SKY)
        if life["end"] == "crash":
            axis.plot(life["to_s"], life["node"], marker="x", color=BLACK, ms=6, mew=1.6)
    for row, span in enumerate(spans, len(nodes)):
        width = max(span["to_s"] - span["from_s"], 0.004 * report["virtual_s"])
        axis.barh(row, width, left=span["from_s"], height=0.5, color=ORANGE)
    axis.axhline(len(nodes) - 0.5, color=GREY, lw=0.6)
    axis.set_xlim(0, report["virtual_s"] * 1.01)
    axis.set_xlabel("virtual time (s)")
    axis.grid(axis="x", color=PALE, lw=0.6)
    axis.set_axisbelow(True)
    _rows(axis, [*nodes, *(_short(span["what"]) for span in spans)])
    handles: list[Any] = [Patch(color=SKY, label="runs")]
    if any(node["attack"] for node in report["nodes"]):
        handles.append(Patch(color=RED, label="runs and lies"))
    if any(life["end"] == "crash" for life in report["lives"]):
        handles.append(Line2D([], [], color=BLACK, marker="x", ls="", mew=1.6, label="crashes"))
    if spans:
        handles.append(Patch(color=ORANGE, label="fault"))
    _legend(figure, axis, handles)
    return figure


# What the figures share ------------------------------------------------------------------------


def _figure(height_in: float) -> Figure:
    return Figure(figsize=(WIDTH_IN, max(height_in, 2.6)), layout="constrained")


def _stack(figure: Figure, count: int) -> list[Axes]:
    made = figure.subplots(count, 1, sharex=True, squeeze=False)
    return [row[0] for row in made]


def _honest(report: Report) -> list[int]:
    """Honest electors and followers, by number."""
    return [n for n, node in enumerate(report["nodes"]) if not node["attack"]]


def _label(report: Report, node: int) -> str:
    shown = report["nodes"][node]
    extra = shown["attack"] or ("follower" if shown["role"] == "follower" else "")
    return f"{shown['name']} ({extra})" if extra else str(shown["name"])


def _short(text: str) -> str:
    return text if len(text) <= 44 else text[:43] + "…"


def _rows(axis: Axes, names: Sequence[str]) -> None:
    """Label one row each, from the top; too many are only counted."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    if len(names) <= ROWS_LABELLED_MAX + SPANS_LABELLED_MAX:
        axis.set_yticks(range(len(names)), names, fontsize=8)
    else:
        axis.set_ylabel(f"{len(names)} nodes")


def _shade(axis: Axes, report: Report) -> None:
    for span in report["fault_spans"]:
        if span["to_s"] > span["from_s"]:
            axis.axvspan(span["from_s"], span["to_s"], color=FAULT, alpha=0.3, lw=0, zorder=0)
        else:
            axis.axvline(span["from_s"], color=FAULT, lw=0.9, ls=":", zorder=0)


def _fault_handle(report: Report) -> list[Any]:
    return [Patch(color=FAULT, alpha=0.5, label="a fault is on")] if report["fault_spans"] else []


def _node_handles(report: Report, nodes: Sequence[int]) -> list[Any]:
    if len(nodes) > len(NODES):
        kinds = [(BLUE, "-", "a node (honest)")]
        if any(report["nodes"][n]["attack"] for n in nodes):
            kinds.append((RED, "--", "a node (lies)"))
        return [Line2D([], [], color=c, ls=s, label=text) for c, s, text in kinds]
    styles = ["--" if report["nodes"][n]["attack"] else "-" for n in nodes]
    return [
        Line2D([], [], color=NODES[place], ls=styles[place], label=_label(report, n))
        for place, n in enumerate(nodes)
    ]


def _legend(figure: Figure, axis: Axes, handles: Sequence[Any]) -> None:
    """Outside, to the right of its panel."""
    if handles:
        axis.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            fontsize=8,
            frameon=False,
            borderaxespad=0.0,
        )
