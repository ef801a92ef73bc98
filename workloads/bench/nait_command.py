"""Body of ``artel bench nait``: what is to be played, the playing, and the report."""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from workloads.api import WorkloadError
from workloads.bench import published
from workloads.bench.pool import Pool
from workloads.bench.report import curves, summarise, to_markdown
from workloads.bench.runs import Run, read_result

INTERRUPTED = 130
USAGE = 2


def bench_nait(
    games: str,
    seeds: int,
    protocol: str,
    steps: int | None,
    jobs: int | None,
    settings: Sequence[str],
    folder: Path,
    as_json: bool,
) -> int:
    """``artel bench nait``; the exit code: 0, 1 if a run failed, 2 usage, 130 after Ctrl-C."""
    try:
        names = pick_games(games)
        changes = parse_settings(settings)
        full = check(names, protocol, changes)
        length = full if steps is None else steps
        runs = [Run(n, seed, protocol, length, changes) for seed in range(seeds) for n in names]
        missing = [run for run in runs if read_result(run, folder) is None]
    except WorkloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    try:
        whole = Pool(missing, folder, jobs or os.cpu_count() or 1).finish()
    except WorkloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = [result for run in runs if (result := read_result(run, folder)) is not None]
    if results:
        _report(results, names, protocol, folder, as_json)
    if not whole:
        left = len(runs) - len(results)
        print(f"{left} of {len(runs)} runs are not over: the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return 0


def pick_games(text: str) -> list[str]:
    """The games that ``--games`` means: 26, 8, or names joined by commas.

    Raises:
        WorkloadError: A name is none of the 26.
    """
    from workloads.nait.atari import rom_name

    if text in ("8", "26"):
        return list(published.DEVELOPMENT if text == "8" else published.SCORES)
    names = [rom_name(name.strip()) for name in text.split(",")]
    for name in names:
        if name not in published.SCORES:
            known = ", ".join(published.SCORES)
            raise WorkloadError(f"--games {name}: write 26, 8, or some of {known}")
    return names


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` with a JSON value, or a word.

    Raises:
        WorkloadError: One has another form.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise WorkloadError(f"--set {text}: write it as KEY=VALUE")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return settings


def check(names: Sequence[str], protocol: str, settings: dict[str, Any]) -> int:
    """Refuse what cannot work before anything is played; the protocol's agent steps.

    Raises:
        WorkloadError: The config is refused, or the extra is not installed.
    """
    from workloads.nait.atari import RULES
    from workloads.nait.config import NaitConfig, Protocol
    from workloads.nait.games import make_environment

    for name in names:
        make_environment(NaitConfig.parse({**settings, "environment": name, "protocol": protocol}))
    return RULES[cast(Protocol, protocol)].steps


def _report(
    results: Sequence[dict[str, Any]],
    names: Sequence[str],
    protocol: str,
    folder: Path,
    as_json: bool,
) -> None:
    summary = summarise(results, names, protocol)
    text = to_markdown(summary)
    (folder / "table.md").write_text(text)
    (folder / "table.json").write_text(json.dumps(_finite(summary), indent=1) + "\n")
    curves(results, folder / "curves.png")
    print(json.dumps(_finite(summary)) if as_json else text)


def _finite(value: Any) -> Any:
    """JSON knows no NaN: null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
