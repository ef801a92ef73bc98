"""Body of ``artel bench robustness``: what is left of training under every attack, rule by rule."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from node.errors import ConfigError
from node.exchange.codecs import CODECS
from node.exchange.rules import Rule
from simulator.bench.chains import any_rule
from simulator.bench.lies import ATTACKS, Sent
from simulator.bench.tasks import Matrix, Task, Vector, task

USAGE = 2
PARAMETER_MAX = 1e6
"""Where training that diverges is stopped."""
SEARCH_EVERY = 5
"""Steps between two searches of an optimal attack, whose strength hardly changes meanwhile."""
LAST = 0.1
"""Share of the steps whose scores are averaged."""
SCORES = 10
"""Scores taken in that share."""


@dataclass(frozen=True)
class Setting:
    """What is trained, by how many, and how."""

    task: str
    honest: int
    f: int
    gamma: float
    """Share of data that is alike; 1: the same everywhere."""
    steps: int
    lr: float
    codec: str
    """``none``, or what updates pass through."""
    seeds: int
    data: str
    momentum: float = 0.9
    """Of each worker, m <- momentum m + (1 - momentum) u, before anything is sent."""
    local_steps: int = 1
    """Each worker's own steps in one of ``steps``; it sends the sum of their gradients."""
    outer_lr: float = 1.0
    outer_momentum: float = 0.0
    """Nesterov's, of what the rule gives, as in ``node.state.outer``."""

    def key(self, each: Rule, attack: str, seed: int) -> dict[str, object]:
        """What tells one run from all others, in files of results."""
        shared = {k: v for k, v in asdict(self).items() if k not in ("seeds", "data")}
        return shared | {
            "data": Path(self.data).name, "rule": each.name, "attack": attack, "seed": seed
        }  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One rule under one attack, mean of the seeds."""

    score: float
    kappa: float
    """Squared distance to the honest mean in variances, mean of all steps."""


RULES = (
    "mean", "median", "trimmed_mean", "geometric_median", "multi_krum", "centered_clip",
    "nnm | trimmed_mean", "nnm | geometric_median", "caf", "nnm | caf",
)  # fmt: skip


def train(setting: Setting, each: Rule, attack: str, seed: int) -> Cell:
    """One run."""
    problem = task(setting.task, setting.honest, setting.gamma, seed, Path(setting.data))
    at = problem.start()
    honest, flipped = np.zeros((2, setting.honest, len(at)))
    outer = np.zeros(len(at))
    scores, kappas, strengths = [], [], dict[str, float]()
    tail = max(1, int(LAST * setting.steps))
    every = max(1, tail // SCORES)
    for step in range(setting.steps):
        honest = _advance(honest, setting, problem, at, flipped=False)
        if attack == "label flip":
            flipped = _advance(flipped, setting, problem, at, flipped=True)
        if step % SEARCH_EVERY == 0:
            strengths.clear()
        sent = Sent(honest, flipped, each, setting.f, setting.codec, strengths)
        lies = ATTACKS[attack](sent)
        if not len(lies):  # the liars behave, and the rule does not know
            lies = honest[np.arange(setting.f) % setting.honest]
        found = sent.combine(lies)
        spread = float(((honest - sent.mean) ** 2).sum(axis=1).mean())
        kappas.append(float(((found - sent.mean) ** 2).sum()) / max(spread, 1e-30))
        outer = setting.outer_momentum * outer + found
        move = setting.outer_lr * setting.lr * (found + setting.outer_momentum * outer)
        at = np.clip(at - move, -PARAMETER_MAX, PARAMETER_MAX)
        if step >= setting.steps - tail and step % every == 0:
            scores.append(problem.score(at))
    return Cell(float(np.mean(scores)), float(np.mean(kappas)))


def _advance(
    momentum: Matrix, setting: Setting, problem: Task, at: Vector, flipped: bool
) -> Matrix:
    """What each worker sends after its local steps from ``at``. Shape [H, D]."""
    total = problem.gradients(at, flipped)
    for _ in range(setting.local_steps - 1):
        total = total + problem.gradients(at - setting.lr * total, flipped)
    return np.asarray(setting.momentum * momentum + (1 - setting.momentum) * total)


def bench_robustness(
    setting: Setting, rules: str, attacks: str, out: Path | None, as_json: bool
) -> int:
    """``artel bench robustness``; the exit code: 0, or 2 for a usage error."""
    try:
        chosen = [any_rule(name) for name in (rules.split(",") if rules else RULES)]
        names = [name.strip() for name in attacks.split(",")] if attacks else list(ATTACKS)
        problem = _checked(setting, chosen, names)
        done = _read(out)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    table = []
    if not as_json:
        print(_head(setting, problem, names))
    for each in chosen:
        cells = {name: _mean_cell(setting, each, name, out, done) for name in names}
        table.append({"rule": each.name, "cells": {k: asdict(v) for k, v in cells.items()}})
        if not as_json:
            print(_line(each, problem, list(cells.values())), flush=True)
    if as_json:
        print(json.dumps({**asdict(setting), "unit": problem.unit, "rules": table}, indent=1))
    return 0


def _read(out: Path | None) -> dict[str, Cell]:
    """Runs of earlier calls, by their keys. A last line cut off by a crash is left out."""
    done = {}
    lines = out.read_text().splitlines() if out is not None and out.exists() else []
    for at, line in enumerate(lines):
        try:
            run = json.loads(line)
            cell = Cell(float(run.pop("score")), float(run.pop("kappa")))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if at == len(lines) - 1:
                break
            raise ConfigError(f"line {at + 1} of {out} holds no run: {error}") from error
        done[json.dumps(run, sort_keys=True)] = cell
    return done


def _checked(setting: Setting, rules: Sequence[Rule], attacks: Sequence[str]) -> Task:
    rows = setting.honest + setting.f
    for each in rules:
        if each.m_min(setting.f) > rows:
            raise ConfigError(f"{each.name} needs {each.m_min(setting.f)} rows, there are {rows}")
    if wrong := [name for name in attacks if name not in ATTACKS]:
        raise ConfigError(f"no attack is called {wrong[0]!r}; choose from {', '.join(ATTACKS)}")
    if setting.codec != "none" and setting.codec not in CODECS:
        raise ConfigError(f"no codec is called {setting.codec!r}; none or {', '.join(CODECS)}")
    return task(setting.task, setting.honest, setting.gamma, 0, Path(setting.data))


def _mean_cell(
    setting: Setting, each: Rule, attack: str, out: Path | None, done: dict[str, Cell]
) -> Cell:
    runs = []
    for seed in range(setting.seeds):
        key = setting.key(each, attack, seed)
        name = json.dumps(key, sort_keys=True)
        if name not in done:
            with np.errstate(all="ignore"):  # the mean diverges under some attacks
                done[name] = train(setting, each, attack, seed)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                with out.open("a") as file:
                    file.write(json.dumps(key | asdict(done[name])) + "\n")
        runs.append(done[name])
    return Cell(float(np.mean([r.score for r in runs])), float(np.mean([r.kappa for r in runs])))


def _head(setting: Setting, problem: Task, names: Sequence[str]) -> str:
    return (
        f"{setting.task}: {setting.honest} honest + {setting.f} liars, gamma = {setting.gamma:g}, "
        f"{setting.steps} steps of {setting.local_steps}, momentum {setting.momentum:g}, outer "
        f"{setting.outer_lr:g} and {setting.outer_momentum:g}, codec {setting.codec}, "
        f"{setting.seeds} seed(s). "
        f"Score ({problem.unit}); in brackets kappa, mean of all steps.\n\n"
        f"| rule | worst | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
    )


def _line(each: Rule, problem: Task, cells: Sequence[Cell]) -> str:
    scores = [cell.score for cell in cells]
    worst = min(scores) if problem.unit.startswith("%") else max(scores)
    shown = " | ".join(f"{cell.score:.2f} ({cell.kappa:.2g})" for cell in cells)
    return f"| {each.name.replace('|', chr(92) + '|')} | {worst:.2f} | {shown} |"
