"""Body of ``artel bench robustness``: what is left of training under every attack, rule by rule."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from node.errors import ConfigError
from node.exchange.codecs import CODECS
from node.exchange.gram import gram_of
from node.exchange.rules import Rule, rule
from simulator.attacks.formulas import alie_z, line_search, min_max_gamma
from simulator.bench.tasks import Matrix, Task, Vector, task

USAGE = 2
KEEP = 0.9
"""Of a worker's momentum, m <- KEEP m + (1 - KEEP) g, before anything is sent."""
SENT_MAX = 1e30
"""Largest coordinate of a lie: what is not finite never passes a decoder."""
PARAMETER_MAX = 1e6
"""Where training that diverges is stopped."""
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


@dataclass(frozen=True)
class Cell:
    """One rule under one attack, mean of the seeds."""

    score: float
    kappa: float
    """Squared distance to the honest mean in variances, mean of all steps."""


class _Sent:
    """What honest workers send in one step, and how a rule combines it with lies."""

    def __init__(self, rows: Matrix, flipped: Matrix, each: Rule, setting: Setting) -> None:
        self.rows, self.flipped, self._each, self._setting = rows, flipped, each, setting
        self.mean, self.std = rows.mean(axis=0), rows.std(axis=0)
        self.f = setting.f

    def combine(self, lies: Matrix) -> Vector:
        """The aggregate of honest rows and lies."""
        sent = np.clip(np.vstack([lies, self.rows]), -SENT_MAX, SENT_MAX)
        rows = list(sent.astype(np.float32))
        if self._setting.codec != "none":
            codec = CODECS[self._setting.codec]
            rows = [codec.decode(codec.encode(row), len(row)) for row in rows]
        mixture = None
        if self._each.kind != "coordinates":
            mixture = self._each.mixture(gram_of(rows), self.f, b"bench")
        return self._each.combine(rows, self.f, mixture).astype(np.float64)

    def copies(self, lie: Vector) -> Matrix:
        """One lie, from every liar."""
        return np.tile(lie, (self.f, 1))

    def worst(self, direction: Vector) -> Matrix:
        """As far along a direction as harms most."""

        def harm(z: float) -> float:
            moved = self.combine(self.copies(self.mean + z * direction)) - self.mean
            return float(np.linalg.norm(moved))

        return self.copies(self.mean + line_search(harm) * direction)


def _mimic(sent: _Sent) -> Matrix:
    away = sent.rows - sent.mean
    first = np.linalg.eigh(away @ away.T)[1][:, -1]
    return sent.copies(sent.rows[int(np.argmax(np.abs(first)))])


def _camouflage(sent: _Sent) -> Matrix:
    away = sent.rows - sent.mean
    size = np.sqrt((away**2).sum(axis=1).mean()) / max(float(np.linalg.norm(sent.mean)), 1e-12)
    # Noise of honest rows, one each, and half a deviation against the mean.
    return np.asarray(sent.mean * (1 - 0.5 * size) + away[np.arange(sent.f) % len(away)])


def _alie(sent: _Sent) -> Matrix:
    z = max(alie_z(len(sent.rows) + sent.f, sent.f), 1.0)
    return sent.copies(sent.mean - z * sent.std)


ATTACKS: Mapping[str, Callable[[_Sent], Matrix]] = {
    "none": lambda s: s.copies(s.mean)[:0],
    "sign flip": lambda s: s.copies(-s.mean),
    "sign flip x 10": lambda s: s.copies(-10 * s.mean),
    "label flip": lambda s: s.flipped[: s.f],
    "ipm 0.1": lambda s: s.copies(-0.1 * s.mean),
    "optimal ipm": lambda s: s.worst(-s.mean),
    "alie": _alie,
    "optimal alie": lambda s: s.worst(-s.std),
    "mimic": _mimic,
    "min-max": lambda s: s.copies(s.mean - min_max_gamma(s.rows, -s.std) * s.std),
    "camouflage": _camouflage,
}
RULES = (
    "mean", "median", "trimmed_mean", "geometric_median", "multi_krum", "centered_clip",
    "nnm | trimmed_mean", "nnm | geometric_median", "caf", "nnm | caf",
)  # fmt: skip


def train(setting: Setting, each: Rule, attack: str, seed: int) -> Cell:
    """One run."""
    problem = task(setting.task, setting.honest, setting.gamma, seed, Path(setting.data))
    at = problem.start()
    momentum, flipped = np.zeros((2, setting.honest, len(at)))
    scores, kappas = [], []
    tail = max(1, int(LAST * setting.steps))
    every = max(1, tail // SCORES)
    for step in range(setting.steps):
        momentum = KEEP * momentum + (1 - KEEP) * problem.gradients(at, flipped=False)
        if attack == "label flip":
            flipped = KEEP * flipped + (1 - KEEP) * problem.gradients(at, flipped=True)
        sent = _Sent(momentum, flipped, each, setting)
        lies = ATTACKS[attack](sent)
        if not len(lies):  # the liars behave, and the rule does not know
            lies = momentum[np.arange(setting.f) % setting.honest]
        found = sent.combine(lies)
        spread = float(((momentum - sent.mean) ** 2).sum(axis=1).mean())
        kappas.append(float(((found - sent.mean) ** 2).sum()) / max(spread, 1e-30))
        at = np.clip(at - setting.lr * found, -PARAMETER_MAX, PARAMETER_MAX)
        if step >= setting.steps - tail and step % every == 0:
            scores.append(problem.score(at))
    return Cell(float(np.mean(scores)), float(np.mean(kappas)))


def bench_robustness(setting: Setting, rules: str, attacks: str, as_json: bool) -> int:
    """``artel bench robustness``; the exit code: 0, or 2 for a usage error."""
    try:
        chosen = [rule(name) for name in (rules.split(",") if rules else RULES)]
        names = [name.strip() for name in attacks.split(",")] if attacks else list(ATTACKS)
        problem = _checked(setting, chosen, names)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    table = []
    if not as_json:
        print(_head(setting, problem, names))
    for each in chosen:
        cells = {name: _mean_cell(setting, each, name) for name in names}
        table.append({"rule": each.name, "cells": {k: asdict(v) for k, v in cells.items()}})
        if not as_json:
            print(_line(each, problem, list(cells.values())), flush=True)
    if as_json:
        print(json.dumps({**asdict(setting), "unit": problem.unit, "rules": table}, indent=1))
    return 0


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


def _mean_cell(setting: Setting, each: Rule, attack: str) -> Cell:
    with np.errstate(all="ignore"):  # the mean diverges under some attacks
        runs = [train(setting, each, attack, seed) for seed in range(setting.seeds)]
    return Cell(float(np.mean([r.score for r in runs])), float(np.mean([r.kappa for r in runs])))


def _head(setting: Setting, problem: Task, names: Sequence[str]) -> str:
    return (
        f"{setting.task}: {setting.honest} honest + {setting.f} liars, gamma = {setting.gamma:g}, "
        f"{setting.steps} steps, codec {setting.codec}, {setting.seeds} seed(s). "
        f"Score ({problem.unit}); in brackets kappa, mean of all steps.\n\n"
        f"| rule | worst | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
    )


def _line(each: Rule, problem: Task, cells: Sequence[Cell]) -> str:
    scores = [cell.score for cell in cells]
    worst = min(scores) if problem.unit.startswith("%") else max(scores)
    shown = " | ".join(f"{cell.score:.2f} ({cell.kappa:.2g})" for cell in cells)
    return f"| {each.name.replace('|', chr(92) + '|')} | {worst:.2f} | {shown} |"
