"""``artel bench``: the commands and their options; each body imports what it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Measure what a workload learns, and how fast."
    "\n\nExample: artel bench nait --games 8 --seeds 2 --protocol standard",
)


@app.callback()
def prepare() -> None:
    """Keep the maths libraries at one thread, before any of them is imported."""
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@app.command()
def nait(
    games: Annotated[
        str, typer.Option(metavar="26|8|NAME,...", help="The 26, the 8 of development, or names.")
    ] = "8",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0 to S-1 of every game.")] = 1,
    protocol: Annotated[
        Literal["standard", "deterministic"],
        typer.Option(help="How episodes start; results of the two never share a table."),
    ] = "standard",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Agent steps of a run [the protocol's 400k frames].")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Runs at once [one a core].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the config; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Runs and report [out/bench/nait-PROTOCOL].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Play games x seeds, then write tables beside the published scores. Run again to resume.

    Example: artel bench nait --games 26 --seeds 1 --protocol standard --out out/nait26
    """
    from workloads.bench.nait_command import bench_nait

    folder = out or Path("out/bench") / f"nait-{protocol}"
    raise typer.Exit(bench_nait(games, seeds, protocol, steps, jobs, set_ or [], folder, json))
