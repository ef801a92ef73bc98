"""``artel bench``: the commands and their options; each body imports what it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Measure what a workload learns, and how fast the rules are."
    "\n\nExample: artel bench aggregate --n 16 --f 3 --d 1000000",
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


@app.command()
def aggregate(
    n: Annotated[int, typer.Option(min=1, max=64, help="Rows.")] = 16,
    f: Annotated[int | None, typer.Option(min=0, max=31, help="Liars [(n - 1) / 4].")] = None,
    d: Annotated[int, typer.Option(min=1, max=10**8, help="Coordinates.")] = 10**6,
    rules: Annotated[str, typer.Option(metavar="NAME,...", help="Some of the cases [all].")] = "",
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of every library.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Runs; the best counts.")] = 5,
    limit_s: Annotated[float, typer.Option(min=1, help="Stop a library after so long.")] = 120.0,
    alone: Annotated[bool, typer.Option("--alone", help="Without other libraries.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time, memory and agreement of the aggregation rules, beside ByzFL and ByzPy in one run.

    Example: artel bench aggregate --n 16 --f 3 --d 1000000 --rules "caf,nnm | trimmed_mean"
    """
    from simulator.bench.aggregate import Sizes, bench_aggregate

    liars = (n - 1) // 4 if f is None else f
    sizes = Sizes(n, liars, d, threads, repeats, limit_s)
    raise typer.Exit(bench_aggregate(sizes, rules, alone, json))


@app.command()
def robustness(
    task: Annotated[
        Literal["quadratic", "fashion", "cnn", "cnn-small"],
        typer.Option(
            help="A quadratic, softmax regression or a convolutional network on pictures."
        ),
    ] = "quadratic",
    honest: Annotated[int, typer.Option(min=1, max=64, help="Honest workers.")] = 10,
    f: Annotated[int, typer.Option(min=0, max=31, help="Liars beside them.")] = 3,
    gamma: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of data dealt evenly; 1: all alike.")
    ] = 0.66,
    steps: Annotated[int, typer.Option(min=10, max=10**6, help="Steps.")] = 400,
    lr: Annotated[float, typer.Option(min=1e-6, max=10.0, help="Step size.")] = 0.1,
    codec: Annotated[str, typer.Option(metavar="none|int8|...", help="Of updates.")] = "none",
    momentum: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Of each worker, before it sends.")
    ] = 0.9,
    local_steps: Annotated[int, typer.Option(min=1, max=1000, help="Of a worker in a step.")] = 1,
    outer_lr: Annotated[float, typer.Option(min=1e-6, max=10.0, help="Of the aggregate.")] = 1.0,
    outer_momentum: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Nesterov's, of the aggregate.")
    ] = 0.0,
    rules: Annotated[str, typer.Option(metavar="RULE,...", help="Some rules or chains.")] = "",
    attacks: Annotated[str, typer.Option(metavar="NAME,...", help="Some attacks [all].")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each cell.")] = 1,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the *-ubyte.gz files of (Fashion-)MNIST are.")
    ] = Path("/usr/share/datasets/fashion-mnist"),
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep each run here; again: resume.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train under every attack with every rule: what is left, and how far liars moved each step.

    "byzfl trimmed_mean" and "byzfl geometric_median" are the chains of ByzFL's heat maps.

    Example: artel bench robustness --task fashion --f 3 --gamma 0.33 --rules "caf,nnm | caf"
    """
    from simulator.bench.robustness import Setting, bench_robustness

    setting = Setting(
        task, honest, f, gamma, steps, lr, codec, seeds, str(data),
        momentum, local_steps, outer_lr, outer_momentum,
    )  # fmt: skip
    raise typer.Exit(bench_robustness(setting, rules, attacks, out, json))
