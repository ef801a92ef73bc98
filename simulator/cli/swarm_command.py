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
from simulator.scenario import Scenario, load_scenario, to_toml
from simulator.swarm import Result, scenario_of, swarm

SEEDS = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?\Z")
WIDTHS = (19, 4, 3, 6, 22, 24, 26, 9, 7)
NAMES = ("run", "", "n", "rounds", "faults", "attack", "rule/codec", "virtual s", "real s")


@dataclass
class Tally:
    """What came of the seeds so far."""

    wanted: int
    out: Path | None
    as_json: bool
    ended: list[Result] = field(default_factory=list)

    @property
    def failed(self) -> list[Result]:
        """By seed."""
        return [result for result in self.sorted if not result.outcome.ok]

    @property
    def sorted(self) -> list[Result]:
        """All that ended, by name and seed."""
        return sorted(self.ended, key=lambda r: (r.case[0] or "", r.case[1]))

    def take(self, ended: Result) -> None:
        """Show one result, and keep it if a folder was given."""
        scenario, outcome = scenario_of(ended.case), ended.outcome
        self.ended.append(ended)
        if not self.as_json:
            print(_line(row(ended.case[0], scenario, outcome)), flush=True)
        if self.out is None:
            return
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps(to_plain(as_json(ended)), sort_keys=True) + "\n")
        if not outcome.ok:
            kept = f"{scenario.name}.toml" if ended.case[0] else f"seed-{outcome.seed}.toml"
            (self.out / kept).write_text(to_toml(scenario))

    def summary(self) -> list[str]:
        """The swarm in a few lines, and one for each failure."""
        count = len(self.ended)
        lines = [f"{count - len(self.failed)} of {count} runs hold every invariant"]
        if count < self.wanted:
            lines[0] += f"; {self.wanted - count} of {self.wanted} were not run"
        if count:
            virtual = sum(r.outcome.virtual_s for r in self.ended)
            wall = [r.outcome.wall_s for r in self.ended]
            lines.append(
                f"{virtual:.0f} virtual s and {sum(r.outcome.rounds for r in self.ended)} rounds in"
                f" {sum(wall):.0f} s of work, {statistics.median(wall):.2f} s a run in the middle,"
                f" {max(wall):.1f} s the longest"
            )
        lines += [f"again: {result.command}" for result in self.failed]
        return lines


def as_json(ended: Result) -> dict[str, object]:
    """One result and the line that replays it."""
    return outcome_json(ended.outcome) | {"replay": ended.command}


def run_swarm(
    seeds: str,
    names: Sequence[str],
    jobs: int,
    minutes: float | None,
    as_json: bool,
    out: Path | None,
) -> int:
    """``artel sim swarm``; the exit code.

    Raises:
        ConfigError: ``seeds`` is no range, there is no such scenario, or ``out`` cannot be written.
    """
    range_ = parse_seeds(seeds)
    for name in names:
        load_scenario(name)
    cases = ((name, seed) for name in names or (None,) for seed in range_)  # may be very many
    wanted = len(range_) * max(1, len(names))
    if out is not None:
        make_folder(out)
        (out / "results.jsonl").unlink(missing_ok=True)
    tally = Tally(wanted, out, as_json)
    interrupted = False
    if not as_json:
        print(_line(NAMES), flush=True)
    with Bar("swarm", wanted, shown=not as_json and not sys.stdout.isatty()) as bar:
        try:
            with closing(swarm(cases, jobs=jobs, minutes=minutes)) as results:
                for ended in results:
                    tally.take(ended)
                    bar.tell(len(tally.ended), f"failed: {len(tally.failed)}")
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


def row(name: str | None, scenario: Scenario, outcome: Outcome) -> tuple[str, ...]:
    """The cells of a seed's line; the last is its first violation."""
    exchange = scenario.job.get("exchange", {})
    kinds = sorted({fault.kind for fault in scenario.faults})
    first = outcome.violations[0] if outcome.violations else None
    cells = (
        str(outcome.seed) if name is None else f"{name} {outcome.seed}",
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
            "runs": tally.wanted,
            "ended": len(tally.ended),
            "failed": [result.command for result in tally.failed],
            "results": [as_json(result) for result in tally.sorted],
        })  # fmt: skip
        return
    with suppress(BrokenPipeError):
        print("\n".join(tally.summary()), file=out, flush=True)
