"""Bodies of ``artel sim run``, ``replay`` and ``scenarios``."""

import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from node.cli.shared import parse_overrides, print_json
from node.config import build, read_toml
from node.errors import ConfigError
from simulator.drawing.generate import draw
from simulator.invariants import Violation
from simulator.report.progress import Bar, RunProgress
from simulator.report.recorder import Recorder
from simulator.report.report import make_report, outcome_json, write_report
from simulator.report.text import PLOTS, summary
from simulator.run import Outcome, run_scenario
from simulator.scenario import Scenario, load_scenario, scenario_names, to_toml
from simulator.world import World

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""


@dataclass
class Played:
    """A run, however it ended."""

    outcome: Outcome
    recorder: Recorder
    interrupted: bool = False


def run_one(
    name: str,
    seed: int,
    nodes: int | None,
    rounds: int | None,
    set_: Sequence[str] | None,
    as_json: bool,
    out: Path | None,
    trace: Path | None,
    plots: bool,
) -> int:
    """``artel sim run``; the exit code.

    Raises:
        ConfigError: the scenario or an option cannot work.
    """
    short = {"nodes": nodes, "rounds": rounds}
    overrides = parse_overrides(set_) | {k: str(v) for k, v in short.items() if v is not None}
    scenario = pick(name, seed, overrides)
    folder = out or Path("out", "sim", f"{scenario.name}-{seed}")
    make_folder(folder)
    with ExitStack() as stack:
        lines = stack.enter_context(_writing(trace)) if trace else None
        played = play(scenario, seed, trace=lines, show=not as_json)
    line = replay_line(name, seed, overrides)
    report = make_report(scenario, played.outcome, played.recorder, line)
    if plots:
        from simulator.report.plots import draw as draw_plots  # matplotlib: a second

        drawn = {path.name for path in draw_plots(report, folder)}
        report["plots"] = [(file, title) for file, title in PLOTS if file in drawn]
    files = write_report(report, folder)
    if as_json:
        print_json(outcome_json(played.outcome))
    else:
        print("\n".join([*summary(report), f"report: {files[1]}"]), flush=True)
    return exit_code(played)


def replay_one(
    seed: int,
    name: str | None,
    set_: Sequence[str] | None,
    trace: bool,
    toml: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """``artel sim replay``; the exit code.

    Raises:
        ConfigError: the scenario or an option cannot work.
    """
    if trace and toml:
        raise ConfigError("--trace and --toml exclude each other")
    if out and not (trace or toml):
        raise ConfigError("--out says where --trace or --toml write: give one of them")
    if as_json and not out and (trace or toml):
        raise ConfigError("--json and the text would mix on stdout: add --out FILE")
    overrides = parse_overrides(set_)
    scenario = pick(name, seed, overrides)
    if trace and not out:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever read enough (`| head`) ends it
    with _writing(out) if out else nullcontext(sys.stdout) as target:
        if toml:
            target.write(to_toml(scenario))
            return 0
        played = play(scenario, seed, trace=target if trace else None, show=not as_json)
    if as_json:
        print_json(outcome_json(played.outcome))
    else:
        line = replay_line(name, seed, overrides)
        report = make_report(scenario, played.outcome, played.recorder, line)
        # The trace may be on stdout: it stays alone there, so that it can be compared.
        print("\n".join(summary(report)), file=sys.stderr if trace else sys.stdout, flush=True)
    return exit_code(played)


def list_scenarios(as_json: bool) -> None:
    """``artel sim scenarios``."""
    about = {name: load_scenario(name).about for name in scenario_names()}
    if as_json:
        print_json([{"name": name, "about": text} for name, text in about.items()])
        return
    width = max(map(len, about), default=0)
    for name, text in about.items():
        print(f"{name:<{width}}  {text}")


# What they share -------------------------------------------------------------------------------


def pick(name: str | None, seed: int, overrides: Mapping[str, str]) -> Scenario:
    """The scenario of that name or file, or else the one that the seed draws.

    Raises:
        ConfigError: there is none, or a setting cannot work.
    """
    if name is not None:
        return load_scenario(name, dict(overrides))
    drawn = draw(seed)
    if not overrides:
        return drawn
    return build(Scenario, read_toml(to_toml(drawn), overrides, drawn.name), drawn.name)


def play(
    scenario: Scenario, seed: int, *, trace: TextIO | None = None, show: bool = True
) -> Played:
    """Run it with a progress bar; Ctrl-C and errors of ours end it with what was seen so far.

    Raises:
        ConfigError: the scenario cannot work.
    """
    seen: list[Recorder] = []

    def record(world: World) -> Recorder:
        seen.append(Recorder(world))
        return seen[0]

    with Bar(f"{scenario.name} seed {seed}", scenario.rounds, shown=show) as bar:
        watch: list[Callable[[World], Recorder | RunProgress]] = [record]
        try:
            outcome = run_scenario(
                scenario, seed, trace=trace, watchers=[*watch, lambda _: RunProgress(bar)]
            )
        except KeyboardInterrupt:
            if not seen:
                raise
            text = "ended by Ctrl-C: this is what happened until then"
            return Played(_ended(scenario, seed, seen[0], "interrupted", text), seen[0], True)
        except ConfigError:
            raise
        except Exception as error:
            if not seen:
                raise
            text = "".join(traceback.format_exception(error)).strip()
            return Played(_ended(scenario, seed, seen[0], "no_error", text), seen[0])
    return Played(outcome, seen[0])


def exit_code(played: Played) -> int:
    """0: all held; 1: something did not; 130: interrupted."""
    if played.interrupted:
        return INTERRUPTED
    return 0 if played.outcome.ok else 1


def replay_line(name: str | None, seed: int, overrides: Mapping[str, str]) -> str:
    """The command that gives the same run again."""
    words = ["artel", "sim", "replay", "--seed", str(seed)]
    words += ["--scenario", name] if name is not None else []
    for key in sorted(overrides):
        words += ["--set", f"{key}={overrides[key]}"]
    return shlex.join(words)


def _ended(scenario: Scenario, seed: int, seen: Recorder, invariant: str, text: str) -> Outcome:
    """The outcome of a run that did not reach its end."""
    return Outcome(
        scenario.name,
        seed,
        violations=[Violation(seen.now_s, invariant, text)],
        rounds=min((seen.newest.get(n.index, 0) for n in seen.world.honest), default=0),
        virtual_s=seen.now_s,
    )


def make_folder(folder: Path) -> None:
    """Make it, with its parents.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}") from error


def _writing(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file that the operator named.

    Raises:
        ConfigError: it cannot be written.
    """
    with _writing(path) as file:
        file.write(text)
