"""Body of ``artel sim shrink``: the smaller scenario, and the line that runs it."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from node.cli.shared import parse_overrides, print_json
from node.errors import ConfigError
from simulator.cli.commands import INTERRUPTED, pick, play, replay_line, write_text
from simulator.report.progress import Bar
from simulator.scenario import Scenario
from simulator.shrink import Fails, Shrunk, fails_alike, shrink


def shrink_one(
    seed: int,
    name: str | None,
    set_: Sequence[str] | None,
    runs: int,
    as_json: bool,
    out: Path | None,
) -> int:
    """``artel sim shrink``; the exit code: 0 where the failure was kept in something to read.

    Raises:
        ConfigError: the scenario cannot work, or nothing fails in it.
    """
    overrides = parse_overrides(set_)
    scenario = pick(name, seed, overrides)
    if out is not None:
        write_text(out, "")  # what cannot be written is told before the work
    first = play(scenario, seed, show=not as_json)
    if first.interrupted:
        return INTERRUPTED
    if first.outcome.ok:
        line = replay_line(name, seed, overrides)
        raise ConfigError(f"every invariant holds: there is nothing to shrink; see `{line}`")
    found, interrupted = _shrink(scenario, seed, runs, fails_alike(first.outcome), not as_json)
    _tell(found, first.outcome.violations[0].invariant, as_json, out)
    return INTERRUPTED if interrupted else 0


def _shrink(
    scenario: Scenario, seed: int, runs: int, fails: Fails, show: bool
) -> tuple[Shrunk, bool]:
    """The smallest one found, until the end or Ctrl-C."""
    best = Shrunk(scenario, seed, 0)
    done = 0

    with Bar("shrink", runs, shown=show) as bar:

        def still_fails(smaller: Scenario, with_seed: int) -> bool:
            nonlocal done
            bar.tell(done, _size(best.scenario))
            done += 1
            return fails(smaller, with_seed)

        def on_smaller(smaller: Scenario, tried: int) -> None:
            nonlocal best
            best = Shrunk(smaller, seed, tried)

        try:
            return shrink(scenario, seed, still_fails, runs_max=runs, on_smaller=on_smaller), False
        except KeyboardInterrupt:
            return replace(best, runs=done), True


def _tell(found: Shrunk, invariant: str, as_json: bool, out: Path | None) -> None:
    if out is not None:
        write_text(out, found.toml)
    command = found.command(str(out or "small.toml"))
    if as_json:
        print_json({
            "seed": found.seed,
            "invariant": invariant,
            "runs": found.runs,
            "toml": found.toml,
            "command": command,
        })  # fmt: skip
        return
    if out is None:
        print(found.toml, end="", flush=True)
    where = f"written to {out}" if out else "save it as small.toml"
    print(
        f"{invariant} still fails after {found.runs} runs with {_size(found.scenario)}: {where},"
        f" then: {command}",
        file=sys.stdout if out else sys.stderr,
        flush=True,
    )


def _size(scenario: Scenario) -> str:
    parts = [f"{scenario.nodes} electors", f"{scenario.rounds} rounds"]
    parts += [f"{scenario.followers} followers"] * bool(scenario.followers)
    return ", ".join([*parts, f"{len(scenario.faults)} faults", f"{len(scenario.attacks)} attacks"])
