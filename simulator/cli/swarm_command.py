"""Body of ``artel sim swarm``: a line a seed, a summary, and how to replay what failed."""

import json
import re
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from node.cli.shared import print_json, to_plain
from node.errors import ConfigError
from simulator.cli.commands import INTERRUPTED, make_folder
from simulator.report.progress import Bar
from simulator.report.report import outcome_json
from simulator.report.text import gist
from simulator.run import Outcome
from simulator.scenario import Scenario, to_toml
from simulator.swarm import Result, replay_command, scenario_of, swarm

SEEDS = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?\Z")
WIDTHS = (7, 4, 3, 6, 22, 24, 26, 9, 7)
NAMES = ("seed", "", "n", "rounds", "faults", "attack", "rule/codec", "virtual s", "real s")


@dataclass
class Tally:
    """What came of the seeds so far."""

    wanted: int
    out: Path | None
    as_json: bool
    results: dict[int, dict[str, object]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """By seed."""
        return sorted((o for o in self.outcomes if not o.ok), key=lambda o: o.seed)

    def take(self, ended: Result) -> None:
        """Show one result, and keep it if a folder was given."""
        scenario, outcome = scenario_of(ended.case), ended.outcome
        self.outcomes.append(outcome)
        result = outcome_json(outcome) | {"replay": ended.command}
        self.results[outcome.seed] = result
        if not self.as_json:
            print(_line(row(scenario, outcome)), flush=True)
        if self.out is None:
            return
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps(to_plain(result), sort_keys=True) + "\n")
        if not outcome.ok:
            (self.out / f"seed-{outcome.seed}.toml").write_text(to_toml(scenario))

    def summary(self) -> list[str]:
        """The swarm in a few lines, and one for each failure."""
        ended = len(self.outcomes)
        lines = [f"{ended - len(self.failed)} of {ended} seeds hold every invariant"]
        if ended < self.wanted:
            lines[0] += f"; {self.wanted - ended} of {self.wanted} were not run"
        if ended:
            virtual = sum(o.virtual_s for o in self.outcomes)
            wall = [o.wall_s for o in self.outcomes]
            lines.append(
                f"{virtual:.0f} virtual s and {sum(o.rounds for o in self.outcomes)} rounds in"
                f" {sum(wall):.0f} s of work, {statistics.median(wall):.2f} s a seed in the middle,"
                f" {max(wall):.1f} s the longest"
            )
        lines += [f"again: {replay_command((None, o.seed))}" for o in self.failed]
        return lines


def run_swarm(seeds: str, jobs: int, minutes: float | None, as_json: bool, out: Path | None) -> int:
    """``artel sim swarm``; the exit code.

    Raises:
        ConfigError: ``seeds`` is no range, or ``out`` cannot be written.
    """
    wanted = parse_seeds(seeds)
    if out is not None:
        make_folder(out)
        (out / "results.jsonl").unlink(missing_ok=True)
    tally = Tally(len(wanted), out, as_json)
    interrupted = False
    if not as_json:
        print(_line(NAMES), flush=True)
    with Bar("swarm", len(wanted), shown=not as_json and not sys.stdout.isatty()) as bar:
        try:
            cases = ((None, seed) for seed in wanted)
            with closing(swarm(cases, jobs=jobs, minutes=minutes)) as results:
                for ended in results:
                    tally.take(ended)
                    bar.tell(len(tally.outcomes), f"failed: {len(tally.failed)}")
        except KeyboardInterrupt:
            interrupted = True
    _end(tally, interrupted, sys.stdout)
    return INTERRUPTED if interrupted else int(bool(tally.failed))


def parse_seeds(text: str) -> range:
    """``"3..5"`` -> 3, 4, 5; ``"3"`` -> 3.

    Raises:
        ConfigError: it is neither, or the last comes before the first.
    """
    match = SEEDS.match(text)
    if match is None:
        raise ConfigError(f"--seeds {text}: write it as A..B, for example 0..199")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ConfigError(f"--seeds {text}: the last seed comes before the first")
    return range(first, last + 1)


def row(scenario: Scenario, outcome: Outcome) -> tuple[str, ...]:
    """The cells of a seed's line; the last is its first violation."""
    exchange = scenario.job.get("exchange", {})
    kinds = sorted({fault.kind for fault in scenario.faults})
    first = outcome.violations[0] if outcome.violations else None
    cells = (
        str(outcome.seed),
        "ok" if outcome.ok else "FAIL",
        str(scenario.nodes),
        str(outcome.rounds),
        ",".join(kinds) or "-",
        ",".join(sorted({attack.name for attack in scenario.attacks})) or "-",
        f"{exchange.get('rule', 'default')}/{exchange.get('codec', 'default')}",
        f"{outcome.virtual_s:.1f}",
        f"{outcome.wall_s:.1f}",
    )
    return (*cells, f"{first.invariant}: {gist(first.text)}" if first else "")


def _line(cells: Sequence[str]) -> str:
    """Cells in columns; what is too long is cut, but for the last."""
    fixed = [_fit(cell, width) for cell, width in zip(cells, WIDTHS, strict=False)]
    return " ".join([*fixed, *cells[len(WIDTHS) :]]).rstrip()


def _fit(cell: str, width: int) -> str:
    short = cell if len(cell) <= width else cell[: width - 1] + "…"
    return short.ljust(width)


def _end(tally: Tally, interrupted: bool, out: TextIO) -> None:
    if tally.as_json:
        print_json({
            "ok": not tally.failed and not interrupted,
            "interrupted": interrupted,
            "seeds": tally.wanted,
            "ended": len(tally.outcomes),
            "failed": [o.seed for o in tally.failed],
            "results": [tally.results[seed] for seed in sorted(tally.results)],
        })  # fmt: skip
        return
    with suppress(BrokenPipeError):
        print("\n".join(tally.summary()), file=out, flush=True)
