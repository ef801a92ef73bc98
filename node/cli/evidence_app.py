"""The commands of `artel evidence`; each body imports what it runs."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.shared import DataOption, JsonOption

evidence_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Proofs that peers lied.\n\nExample: artel evidence list",
)
PeerArgument = Annotated[str, typer.Argument(help="Peer id, or its unique end.")]


@evidence_app.command("list")
def evidence_list(data: DataOption = None, json: JsonOption = False) -> None:
    """List the peers that a node holds evidence against.

    Example: artel evidence list --json
    """
    from node.cli.evidence import list_evidence

    list_evidence(data, json)


@evidence_app.command("show")
def evidence_show(peer: PeerArgument, data: DataOption = None, json: JsonOption = False) -> None:
    """Show what the evidence against a peer says.

    Example: artel evidence show 7xQmPzWd
    """
    from node.cli.evidence import show_evidence

    show_evidence(peer, data, json)


@evidence_app.command("export")
def evidence_export(
    peer: PeerArgument,
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Write the evidence against a peer to a file, for others to verify.

    Example: artel evidence export 7xQmPzWd liar.evidence
    """
    from node.cli.evidence import export_evidence

    export_evidence(peer, file, data, json)


@evidence_app.command("verify")
def evidence_verify(
    file: Annotated[Path, typer.Argument(help="Evidence, as `export` wrote it.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Data folder of a stopped node with the job's chain: for judgements."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check evidence without a node: exit code 0 if it proves that its peer lied, else 1.

    Two messages for one slot, and forks, stand alone. A judgement on false work, of a contributor
    or of a reducer, names who found it so: whether they were electors of that round is in the job's
    chain, which --folder gives.

    Example: artel evidence verify liar.evidence
    """
    from node.cli.evidence import verify_evidence

    raise typer.Exit(verify_evidence(file, folder, json))
