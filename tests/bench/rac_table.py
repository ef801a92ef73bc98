"""The table of ``bench_rac.py``: mean and deviation over seeds, in per cent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = {
    "accuracy": "accuracy",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "base_accuracy": "B",
    "retrieval_accuracy": "R",
    "vote_accuracy": "vote",
}
EDIT = ("fused_new", "retrieval_new", "vote_new", "fused_others", "retrieval_others", "vote_others")


def write_table(kept: Mapping[str, Any], path: Path) -> None:
    """Markdown beside the JSON."""
    rows: dict[str, list[Mapping[str, float]]] = {}
    edits: dict[str, Mapping[str, float]] = {}
    for job in sorted(kept["runs"]):
        found = kept["runs"][job]
        if " edit " in job:
            edits |= found
            continue
        for name, numbers in found.items():
            rows.setdefault(name, []).append(numbers)
    lines = ["| method | seeds | parameters | " + " | ".join(COLUMNS.values()) + " |"]
    lines.append("|---" * (3 + len(COLUMNS)) + "|")
    ordered = sorted(rows, key=lambda name: -np.mean([n["accuracy"] for n in rows[name]]))
    for name in ordered:
        runs = rows[name]
        size = runs[0].get("parameters")
        cells = [cell([run[key] for run in runs if key in run]) for key in COLUMNS]
        shown = f"{size:,.0f}" if size else ""
        lines.append(f"| {name} | {len(runs)} | {shown} | " + " | ".join(cells) + " |")
    if edits:
        lines += ["", "| memory | " + " | ".join(EDIT).replace("_", ", ") + " |"]
        lines.append("|---" * (1 + len(EDIT)) + "|")
        for name, numbers in edits.items():
            lines.append(
                f"| {name} | " + " | ".join(f"{100 * numbers[k]:.1f}" for k in EDIT) + " |"
            )
    path.write_text("\n".join(lines) + "\n")


def cell(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{100 * values[0]:.1f}"
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"
