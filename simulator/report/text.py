"""A report as Markdown, and its end as a few lines for a terminal. Verdict first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from node.cli.shared import format_bytes, format_number

Report = Mapping[str, Any]

PLOTS = (
    ("learning.png", "Loss and metrics by virtual time"),
    ("timeline.png", "Lives of the nodes and faults"),
    ("rounds.png", "Duration of the rounds"),
    ("contributions.png", "Who was used, refused or absent"),
    ("traffic.png", "Bytes sent and received"),
)
"""File -> what it shows, in the order of the report."""
REFUSALS_SHOWN = 4
PEER_ERRORS_SHOWN = 30


def verdict(report: Report) -> str:
    """One sentence: did everything hold?"""
    if report["ok"]:
        return "OK: every invariant held."
    count = len(report["violations"])
    return f"FAILED: {count} violation{'s' * (count != 1)}."


def summary(report: Report) -> list[str]:
    """The run in a few lines."""
    lines = [f"{report['scenario']}, seed {report['seed']}: {verdict(report)}"]
    lines += [f"  {_violation(violation)}" for violation in report["violations"][:10]]
    lines.append(
        f"{report['rounds']} of {report['rounds_wanted']} rounds in"
        f" {report['virtual_s']:.1f} virtual s ({report['wall_s']:.1f} s real),"
        f" {report['events']} events, trace {report['trace_digest'] or '-'}"
    )
    if report["metrics"]:
        shown = (f"{name} {format_number(v, '.4g')}" for name, v in report["metrics"].items())
        lines.append(f"worst at an honest node: {', '.join(shown)}")
    if report["recovery_virtual_s"] is not None:
        lines.append(f"recovered {report['recovery_virtual_s']:.1f} virtual s after the last fault")
    lines += [f"not shown: {text}" for text in report["not_shown"]]
    for node in report["nodes"]:
        if node["refused"]:
            role = node["attack"] or "honest"
            lines.append(f"{node['name']} ({role}) refused: {_counts(node['refused'])}")
    if not report["ok"]:
        lines.append(f"again: {report['replay']}")
    return lines


def gist(text: str) -> str:
    """One line: the text itself, or what a traceback ends with."""
    lines = [line.strip(" |+-") for line in text.splitlines()]
    lines = [line for line in lines if line]
    return lines[-1] if "Traceback" in text and lines else " ".join(lines)


def to_markdown(report: Report) -> str:
    """The whole report; the pictures lie beside it."""
    parts = [
        f"# {report['scenario']}, seed {report['seed']}",
        f"**{verdict(report)}** {report['about']}",
        _violations(report),
        _not_shown(report),
        f"Replay: `{report['replay']}`",
        "## What happened",
        _facts(report),
        _rounds(report),
        "## Nodes",
        _nodes(report),
        _recoveries(report),
        _faults(report),
        _blames(report),
        "## Traffic",
        _traffic(report),
        *(f"## {title}\n\n![{title}]({name})" for name, title in report.get("plots", ())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _violations(report: Report) -> str:
    lines = [f"- {_violation(violation)}" for violation in report["violations"]]
    for violation in report["violations"]:
        if "Traceback" in violation["text"]:
            lines += ["", "```", violation["text"].strip(), "```"]
    return "\n".join(["## Violations", "", *lines]) if lines else ""


def _not_shown(report: Report) -> str:
    lines = [f"- {text}" for text in report["not_shown"]]
    return "\n".join(["## Not shown", "", *lines]) if lines else ""


def _violation(violation: Report) -> str:
    return f"{violation['invariant']} at {violation['at_s']:.3f} s: {gist(violation['text'])}"


def _facts(report: Report) -> str:
    log = report["round_log"]
    skipped = [entry for entry in log if entry["skip"]]
    views = sum(entry["view"] > 0 for entry in log)
    metrics = (f"{k} {format_number(v, '.6g')}" for k, v in report["metrics"].items())
    return _table(
        ("fact", "value"),
        [
            ("rounds certified by every honest node", f"{report['rounds']} of"
             f" {report['rounds_wanted']}"),
            ("virtual time", f"{report['virtual_s']:.3f} s"),
            ("real time", f"{report['wall_s']:.1f} s"),
            ("events", str(report["events"])),
            ("trace digest", report["trace_digest"] or "-"),
            ("worst metrics of honest nodes", ", ".join(metrics) or "-"),
            ("rounds that needed another leader", str(views)),
            ("rounds skipped", ", ".join(f"{e['round']} ({e['skip']})" for e in skipped) or "0"),
            ("longest time without a new certificate", _seconds(report["pause_s_max"])),
            ("recovery after the last fault", _seconds(report["recovery_virtual_s"])),
            ("jobs that failed", "; ".join(f"{f['node']}: {f['reason']}"
             for f in report["job_failures"]) or "0"),
        ],
    )  # fmt: skip


def _rounds(report: Report) -> str:
    """Only rounds that were not plain: every one used, first leader, nothing refused."""
    rows = [
        (
            str(entry["round"]),
            _seconds(entry["first_s"]),
            _seconds(entry["seconds_median"]),
            str(entry["view"]),
            str(entry["used"]),
            entry["skip"] or "",
            ", ".join(f"{node}: {why}" for node, why in entry["refused"].items()),
        )
        for entry in report["round_log"]
        if entry["view"] or entry["skip"] or entry["refused"]
    ]
    if not rows:
        return ""
    names = ("round", "certified at", "took", "view", "used", "skipped", "refused")
    return "Rounds in which something was refused, skipped or led anew:\n\n" + _table(names, rows)


def _nodes(report: Report) -> str:
    names = ("node", "role", "behaviour", "lives", "crashes", "newest round", "used in",
             "mean weight", "refused", "blamed for", "banned", "sent", "received")  # fmt: skip
    rows = [
        (
            node["name"],
            node["role"],
            node["attack"] or "honest",
            str(node["lives"]),
            str(node["crashes"]),
            str(node["round"]),
            f"{node['rounds_used']} rounds",
            format_number(node["weight_mean"], ".3f"),
            _counts(node["refused"]),
            _counts(node["blamed"]),
            node["banned"] or "",
            format_bytes(node["bytes_up"]),
            format_bytes(node["bytes_down"]),
        )
        for node in report["nodes"]
    ]
    return _table(names, rows)


def _recoveries(report: Report) -> str:
    rows = [
        (
            _seconds(r["at_s"]),
            r["what"],
            str(r["until_round"]),
            _seconds(r["took_s"]) if r["took_s"] is not None else "not before the end",
            ", ".join(r["missing"]),
        )
        for r in report["recoveries"]
    ]
    names = ("at", "after", "until it held round", "took (virtual)", "never")
    return "## Recoveries\n\n" + _table(names, rows) if rows else ""


def _faults(report: Report) -> str:
    rows = [(_seconds(fault["at_s"]), fault["what"]) for fault in report["faults"]]
    return "## Faults\n\n" + _table(("at", "what"), rows) if rows else ""


def _blames(report: Report) -> str:
    errors = sorted(report["peer_errors"], key=lambda e: (-e["count"], e["of"], e["by"]))
    rows = [
        (e["of"], e["by"], e["reason"], str(e["count"]), _seconds(e["first_s"]), e["text"])
        for e in errors[:PEER_ERRORS_SHOWN]
    ]
    if not rows:
        return ""
    left = len(errors) - len(rows)
    more = f"\n\nand {left} more pairs in report.json" if left else ""
    names = ("peer", "blamed by", "reason", "times", "first at", "text of the first")
    return "## Protocol errors\n\n" + _table(names, rows) + more


def _traffic(report: Report) -> str:
    rows = [
        (method, str(call["requests"]), format_bytes(call["bytes"]))
        for method, call in report["calls"].items()
    ]
    return _table(("method", "requests", "bytes of the requests"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _counts(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{reason} x{count}" for reason, count in most[:REFUSALS_SHOWN]]
    return ", ".join(shown + ["..."] * (len(most) > REFUSALS_SHOWN))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
