"""``artel sim``: the commands and their options; each body imports what it runs."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.shared import JsonOption

app = typer.Typer(
    name="sim",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run whole swarms in virtual time, under faults and attacks, replayable from a seed."
    "\n\nExample: artel sim run calm --seed 1",
)

SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every draw.")]
ScenarioOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Named scenario or TOML file [drawn from the seed]."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the scenario; repeatable."),
]
MinutesOption = Annotated[
    float | None, typer.Option(min=0.01, help="Begin nothing new after this much real time.")
]


@app.callback()
def prepare() -> None:
    """Keep the maths libraries at one thread, before any of them is imported."""
    import os

    from node.cli.environment import set_environment

    set_environment(os.environ)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO|FILE.toml", help="What to run.")],
    seed: SeedOption = 0,
    nodes: Annotated[int | None, typer.Option(min=1, max=64, help="As --set nodes=N.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="As --set rounds=R.")] = None,
    set_: SetOption = None,
    json: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Report [out/sim/SCENARIO-SEED].")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the text trace.")
    ] = None,
    plots: Annotated[bool, typer.Option(help="Draw the report's pictures.")] = True,
) -> None:
    """Run one scenario and write a report; exit 0 only if every invariant held.

    Example: artel sim run leader_dies --seed 3 --nodes 7 --set link.loss_rate=0.02
    """
    from simulator.cli.commands import run_one

    raise typer.Exit(run_one(scenario, seed, nodes, rounds, set_, json, out, trace, plots))


@app.command()
def swarm(
    seeds: Annotated[str, typer.Option(metavar="A..B", help="First and last seed, or one.")],
    scenario: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run this named one with each seed; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Runs at once.")] = 2,
    minutes: MinutesOption = None,
    json: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep results and failing scenarios there.")
    ] = None,
) -> None:
    """Run the scenarios that seeds draw: sizes, links, faults, attacks, rules, codecs, workloads.

    Example: artel sim swarm --seeds 0..199 --jobs 2
    """
    from simulator.cli.swarm_command import run_swarm

    raise typer.Exit(run_swarm(seeds, scenario or (), jobs, minutes, json, out))


@app.command()
def replay(
    seed: SeedOption,
    scenario: ScenarioOption = None,
    set_: SetOption = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Write every message and decision, one a line.")
    ] = False,
    toml: Annotated[
        bool, typer.Option("--toml", help="Write the scenario as TOML and do not run it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where --trace or --toml write [stdout].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run one seed again, to the same bytes; two traces are compared with diff.

    Example: artel sim replay --seed 8123 --trace --out 8123.txt
    """
    from simulator.cli.commands import replay_one

    raise typer.Exit(replay_one(seed, scenario, set_, trace, toml, out, json))


@app.command()
def shrink(
    seed: SeedOption,
    scenario: ScenarioOption = None,
    set_: SetOption = None,
    runs: Annotated[int, typer.Option(min=1, help="Most runs to try.")] = 200,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the scenario is written [stdout].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find a smaller scenario in which the same invariant fails: fewer faults, nodes, rounds.

    Example: artel sim shrink --seed 8123 --out small.toml
    """
    from simulator.cli.shrink_command import shrink_one

    raise typer.Exit(shrink_one(seed, scenario, set_, runs, json, out))


@app.command()
def scenarios(json: JsonOption = False) -> None:
    """List the named scenarios, each with one sentence.

    Example: artel sim scenarios
    """
    from simulator.cli.commands import list_scenarios

    list_scenarios(json)
