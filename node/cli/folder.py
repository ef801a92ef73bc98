"""What `artel verify` tells of a stopped node's data folder."""

from pathlib import Path

from node.cli.shared import print_json
from node.jobs.verify_folder import FolderReport, verify_node_folder


def verify_folder(folder: Path, job: str | None, as_json: bool) -> int:
    """Verify a folder and print what it proves; the exit code: 0 where all of it agrees.

    Raises:
        ConfigError: not the folder of a stopped node, no such job, or several to choose from.
    """
    report = verify_node_folder(folder, job)
    if as_json:
        print_json(_fields(report))
    else:
        print("\n".join(_lines(report)))
    return 0 if report.agreement else 1


def _fields(report: FolderReport) -> dict[str, object]:
    return {
        "agreement": report.agreement,
        "reason": report.reason,
        "round": report.round,
        "state_root": report.state_root,
        "skips": report.skips,
        "refusals": dict(sorted(report.refusals.items())),
        "credits": {peer: micro / 1e6 for peer, micro in sorted(report.credits.items())},
        "entries": report.entries,
        "entries_behind": report.entries_behind,
    }


def _lines(report: FolderReport) -> list[str]:
    refused = ", ".join(f"{count} x {reason}" for reason, count in sorted(report.refusals.items()))
    lines = [
        f"rounds    {report.round} certified, {report.skips} of them skipped",
        f"state     {report.state_root or 'none'}",
        f"refused   {refused or 'nobody'}",
    ]
    if report.entries or report.entries_behind:
        behind = f", {report.entries_behind} more certified" if report.entries_behind else ""
        lines.append(f"memory    {report.entries} entries, signed by their authors{behind}")
    lines += [f"credits   {micro / 1e6:10.1f}  {peer}" for peer, micro in _sorted(report)]
    lines.append("WHOLE" if report.agreement else f"NOT WHOLE: {report.reason}")
    return lines


def _sorted(report: FolderReport) -> list[tuple[str, int]]:
    return sorted(report.credits.items(), key=lambda item: (-item[1], item[0]))
