"""The tree of commands and their options; each body imports what it runs."""

from pathlib import Path
from typing import Annotated

import typer

from node import __version__
from node.cli.evidence_app import evidence_app
from node.cli.plugins import PluginGroup
from node.cli.shared import DataOption, JsonOption, SetOption

app = typer.Typer(
    name="artel",
    cls=PluginGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Train one model together with strangers' machines.\n\nExample: artel up --nodes 4 "
    "--job examples/inr-astronaut.toml",
)
job_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Jobs of a running node.\n\nExample: artel job list",
)
node_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run a node.\n\nExample: artel node run --job job.toml",
)
app.add_typer(job_app, name="job")
app.add_typer(node_app, name="node")
app.add_typer(evidence_app, name="evidence")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"artel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before any command."""


@app.command("id")
def show_id(data: DataOption = None, json: JsonOption = False) -> None:
    """Show a node's peer id, and its addresses while it runs.

    Example: artel id --data ~/.artel
    """
    from node.cli.ask import ask_id

    ask_id(data, json)


@app.command()
def status(
    data: DataOption = None,
    json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
) -> None:
    """Show what a node does now.

    Example: artel status --watch
    """
    from node.cli.ask import ask_status

    ask_status(data, json, watch)


@app.command()
def health(data: DataOption = None) -> None:
    """Say whether a node answers: exit code 0 if it does. For supervisors and containers.

    Example: artel health --data ~/.artel
    """
    from node.cli.ask import ask_health

    raise typer.Exit(ask_health(data))


@app.command()
def peers(data: DataOption = None, json: JsonOption = False) -> None:
    """Show the peers that a node knows.

    Example: artel peers --json
    """
    from node.cli.ask import ask_peers

    ask_peers(data, json)


@job_app.command("submit")
def job_submit(
    file: Annotated[Path, typer.Argument(help="The job's manifest, TOML.")],
    gather: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Wait for so many nodes that serve any job; they are the founders."
        ),
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0, help="With --gather: until none has come for these seconds.")
    ] = 5.0,
    set_: SetOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give a node a job to serve.

    Example: artel job submit examples/inr-astronaut.toml --gather 4 --set job.rounds=50
    """
    from node.cli.ask import submit_job

    submit_job(file, set_, data, json, gather=gather, settle_s=settle)


@job_app.command("list")
def job_list(data: DataOption = None, json: JsonOption = False) -> None:
    """List a node's jobs.

    Example: artel job list
    """
    from node.cli.ask import list_jobs

    list_jobs(data, json)


@job_app.command("show")
def job_show(
    job: Annotated[str, typer.Argument(help="Job id, or its unique beginning.")],
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show one job and its manifest.

    Example: artel job show 3f9a
    """
    from node.cli.ask import show_job

    show_job(job, data, json)


@job_app.command("stop")
def job_stop(
    job: Annotated[str, typer.Argument(help="Job id, or its unique beginning.")],
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Stop working on a job on this node; other nodes go on.

    Example: artel job stop 3f9a
    """
    from node.cli.ask import stop_job

    stop_job(job, data, json)


@node_app.command("run")
def node_run(
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.")] = None,
    data: DataOption = None,
    listen: Annotated[
        list[str] | None, typer.Option(metavar="MULTIADDR", help="Where to listen; repeatable.")
    ] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="Told to peers instead; repeatable."),
    ] = None,
    join: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="A node of the swarm, with /p2p/ID; repeatable."),
    ] = None,
    join_file: Annotated[
        Path | None, typer.Option(help="A file of such addresses, a line each; waited for.")
    ] = None,
    address_file: Annotated[
        Path | None, typer.Option(help="Write this node's addresses there, for --join-file.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder for pictures and such [DATA/artifacts].")
    ] = None,
    job: Annotated[
        list[str] | None, typer.Option(metavar="FILE|ID", help="A job to serve; repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a worker.")] = None,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    attack: Annotated[
        str | None, typer.Option(metavar="NAME[:SCALE]", help="Misbehave; for trials.")
    ] = None,
    failpoint: Annotated[
        str | None, typer.Option(metavar="PHASE@ROUND", help="Die there.", hidden=True)
    ] = None,
    set_: SetOption = None,
) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    Example: artel node run --job job.toml --join /ip4/203.0.113.7/tcp/31330/p2p/12D3KooW...
    """
    import os

    from node.cli.environment import set_environment

    set_environment(os.environ)  # before anything imports numpy
    from node.cli.node_config import read_node_config
    from node.cli.node_run import run_node

    flags = {
        "listen": listen,
        "announce": announce,
        "join": join,
        "join_file": join_file and str(join_file),
        "address_file": address_file and str(address_file),
        "artifacts": artifacts and str(artifacts),
        "jobs": job,
        "device": device,
        "threads": threads,
        "attack": attack,
        "failpoint": failpoint,
    }
    raise typer.Exit(run_node(read_node_config(config, data, flags, set_), log_format))


@app.command()
def up(
    job: Annotated[Path, typer.Option(help="The job's manifest, TOML.")],
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Nodes to start.")] = 4,
    byzantine: Annotated[int, typer.Option(min=0, help="How many of them attack.")] = 0,
    attack: Annotated[
        str, typer.Option(metavar="NAME[:SCALE]", help="What those do.")
    ] = "sign_flip",
    rounds: Annotated[int | None, typer.Option(min=1, help="As job.rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="As job.seed.")] = None,
    rule: Annotated[str | None, typer.Option(help="As exchange.rule.")] = None,
    codec: Annotated[str | None, typer.Option(help="As exchange.codec.")] = None,
    set_: SetOption = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the run [out/JOB NAME].")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Give up after this many seconds.")
    ] = 3600.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the nodes running until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a job with several nodes on this machine, and verify what they agreed on.

    Example: artel up --nodes 8 --job examples/inr-astronaut.toml --byzantine 2 --attack sign_flip
    """
    from node.cli.swarm.plan import make_plan

    shortcuts = {
        "job.rounds": rounds,
        "job.seed": seed,
        "exchange.rule": rule,
        "exchange.codec": codec,
    }
    plan = make_plan(job, nodes, byzantine, attack, shortcuts, set_, folder)
    # Heavier imports come after the plan, so that a mistake in it is told at once.
    from node.cli.swarm.up import run_swarm

    raise typer.Exit(run_swarm(plan, timeout_s=timeout, keep=keep, as_json=json))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Data folder of a stopped node.")],
    job: Annotated[str | None, typer.Option(metavar="ID", help="Job id [the only one].")] = None,
    json: JsonOption = False,
) -> None:
    """Check what a stopped node keeps: certificates, state and shared memory; exit code 0 if whole.

    Example: artel verify out/inr-astronaut/node-00
    """
    from node.cli.folder import verify_folder

    raise typer.Exit(verify_folder(folder, job, json))
