"""The workloads with a known optimum: they keep the contract, and what they measure is true."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from simulator.workloads.descent import Descent
from simulator.workloads.logistic import LogisticWorkload, compute_loss, find_optimum
from simulator.workloads.quadratic import QuadraticWorkload
from workloads import api
from workloads.api import FloatVector, TrainResult, WorkloadError

SEED = bytes(range(32))
KINDS: list[type[Descent]] = [QuadraticWorkload, LogisticWorkload]
NOISY: dict[type[Descent], dict[str, Any]] = {
    QuadraticWorkload: {"heterogeneity": 0.5, "condition": 10.0},
    LogisticWorkload: {"heterogeneity": 0.5, "condition": 10.0},
}


def train(workload: Descent, params: FloatVector | None = None, **changes: Any) -> TrainResult:
    arguments: dict[str, Any] = {
        "round_": 1,
        "rounds": 4,
        "data_seed": SEED,
        "steps": 8,
        "deadline_s": 1e9,
        "continued": False,
        "clock": lambda: 0.0,
    }
    start = workload.initial() if params is None else params
    return workload.train(start, **(arguments | changes))


def descend(workload: Descent, rounds: int, peers: int = 4) -> dict[str, float]:
    """Metrics after rounds of plain averaging over some peers."""
    x = workload.initial()
    for round_ in range(rounds):
        seeds = [f"{round_}/{peer}".encode() for peer in range(peers)]
        x -= np.mean([train(workload, x, data_seed=s).update for s in seeds], axis=0)
    return workload.evaluate(x)


# The contract of workloads.api, by both -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_both_are_published_for_real_nodes(kind: type[Descent]) -> None:
    name = kind.__name__.removesuffix("Workload").lower()
    assert api.load(name) is kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_replays_from_its_data_seed(kind: type[Descent]) -> None:
    first, again, used = kind(NOISY[kind], 3), kind(NOISY[kind], 3), kind(NOISY[kind], 3)
    train(used, data_seed=b"another round")
    update = train(first).update
    assert train(again).update.tobytes() == update.tobytes()
    assert train(used).update.tobytes() == update.tobytes()
    assert train(again, data_seed=b"another peer").update.tobytes() != update.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_draws_the_same_data_whatever_the_budget_is(kind: type[Descent]) -> None:
    short, long = kind(NOISY[kind], 3), kind(NOISY[kind], 3)
    ticks = itertools.count()
    cut = train(long, steps=8, deadline_s=2.0, clock=lambda: float(next(ticks)))
    assert cut.steps_done == 2
    expected = train(short, steps=2).update * np.float32(4)
    assert cut.update == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps", "least"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_deadline_that_is_over_still_gives_a_quarter(
    kind: type[Descent], steps: int, least: int
) -> None:
    ticks = itertools.count()
    done = train(kind({}, 3), steps=steps, deadline_s=0.0, clock=lambda: float(next(ticks)))
    assert done.steps_done == least


@pytest.mark.parametrize("kind", KINDS)
def test_continued_goes_on_from_the_replica_relative_to_the_given_parameters(
    kind: type[Descent],
) -> None:
    workload = kind(NOISY[kind], 3)
    one = train(workload).update
    both = train(workload, data_seed=b"second", continued=True).update
    other = kind(NOISY[kind], 3)
    second = train(other, workload.initial() - one, data_seed=b"second").update
    assert both == pytest.approx(one + second, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_neither_changed_nor_kept(kind: type[Descent]) -> None:
    workload = kind(NOISY[kind], 3)
    params = np.full_like(workload.initial(), 0.25)
    before = params.copy()
    update = train(workload, params).update
    assert params.tobytes() == before.tobytes()
    params[:] = 7.0
    assert train(workload, before).update.tobytes() == update.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_that_diverges_gives_zero_and_recovers(kind: type[Descent]) -> None:
    workload = kind({}, 3)
    spoilt = train(workload, np.full_like(workload.initial(), 3e38), continued=False)
    if math.isnan(spoilt.loss):
        assert not spoilt.update.any()
    assert np.isfinite(spoilt.update).all()
    bad = train(workload, np.full_like(workload.initial(), np.nan))
    assert math.isnan(bad.loss)
    assert not bad.update.any()
    assert np.isfinite(train(workload).update).all()
    assert not math.isfinite(workload.evaluate(np.full_like(workload.initial(), np.inf))["error"])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_another_job_are_refused(kind: type[Descent]) -> None:
    workload = kind({}, 3)
    with pytest.raises(WorkloadError, match="belong to another job"):
        train(workload, np.zeros(3, np.float32))
    with pytest.raises(WorkloadError, match="belong to another job"):
        workload.evaluate(workload.initial().astype(np.float64))


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (QuadraticWorkload, {"dimension": 5}, "dimension is not a setting; known here: .*lr"),
        (QuadraticWorkload, {"dimensions": 0}, "dimensions = 0 is refused"),
        (QuadraticWorkload, {"dimensions": 10**9}, "dimensions = 1000000000 is refused"),
        (QuadraticWorkload, {"lr": 2.0}, "lr = 2.0 is refused"),
        (QuadraticWorkload, {"noise": math.nan}, "noise = nan is refused"),
        (QuadraticWorkload, {"heterogeneity": -0.1}, "heterogeneity = -0.1 is refused"),
        (LogisticWorkload, {"samples": 1 << 20, "features": 512}, "samples \\* features must be"),
        (LogisticWorkload, {"flip": 1}, "flip = 1 is refused"),
        (LogisticWorkload, {"label_noise": 0.6}, "label_noise = 0.6 is refused"),
    ],
)
def test_a_bad_setting_is_refused_in_words(
    kind: type[Descent], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=f"workload [a-z]+: .*{message}"):
        kind(config, 0)


# Truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_one_at_the_start_and_zero_at_the_optimum(kind: type[Descent]) -> None:
    workload = kind({}, 3)
    start, best = workload.evaluate(workload.initial()), workload.evaluate(workload._optimum)
    assert start["error"] == 1.0
    assert start["loss"] > 0.1
    assert best["error"] < 1e-6
    assert abs(best["loss"]) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"condition": 100.0}, {"heterogeneity": 0.5}])
def test_descent_gets_close_to_the_known_optimum(
    kind: type[Descent], changes: dict[str, float]
) -> None:
    workload = kind(changes, 3)
    start = workload.evaluate(workload.initial())["loss"]
    assert 0 <= descend(workload, 40)["loss"] < 0.03 * start


@pytest.mark.parametrize("kind", KINDS)
def test_who_flips_labels_goes_away_from_the_optimum(kind: type[Descent]) -> None:
    honest, liar = kind({}, 3), kind({"flip": True}, 3)
    assert float(train(honest, steps=40).update @ train(liar, steps=40).update) < 0
    assert descend(liar, 10)["error"] > 1.2
    assert liar.evaluate(liar.initial()) == honest.evaluate(honest.initial())


def test_the_quadratic_s_loss_is_that_of_its_curvatures() -> None:
    def loss(condition: float) -> float:
        workload = QuadraticWorkload({"dimensions": 4000, "condition": condition}, 1)
        return workload.evaluate(workload.initial())["loss"]

    assert loss(1.0) == pytest.approx(0.5, rel=0.05)
    # The mean of curvatures spread evenly in the logarithm from 1 to 1/c is (1 - 1/c) / ln c.
    assert loss(100.0) == pytest.approx(0.5 * 0.99 / math.log(100), rel=0.1)


def rows_of(kind: type[Descent], config: dict[str, Any], count: int, steps: int) -> FloatVector:
    workload = kind(config, 1)
    seeds = [f"peer {peer}".encode() for peer in range(count)]
    return np.stack([train(workload, data_seed=seed, steps=steps).update for seed in seeds])


def spread_of(rows: FloatVector) -> float:
    return float(np.mean(np.sum((rows - rows.mean(axis=0)) ** 2, axis=1)))


@pytest.mark.parametrize("kind", KINDS)
def test_updates_spread_with_heterogeneity(kind: type[Descent]) -> None:
    configs = [{"heterogeneity": h} for h in (0.0, 0.4, 0.8)]
    spreads = [spread_of(rows_of(kind, config, 100, 8)) for config in configs]
    assert 2 * spreads[0] < spreads[1] < spreads[2] / 2


@pytest.mark.parametrize("kind", KINDS)
def test_heterogeneous_gradients_agree_in_the_mean(kind: type[Descent]) -> None:
    alike, apart = (rows_of(kind, {"heterogeneity": h}, 400, 1) for h in (0.0, 0.8))
    off = float(np.sum((alike.mean(axis=0) - apart.mean(axis=0)) ** 2))
    # Means of 400 independent rows differ by their variances; six times that is a rare draw.
    assert off < 6 * (spread_of(alike) + spread_of(apart)) / 400
    shift = float(np.sum(alike.mean(axis=0) ** 2))
    assert off < 0.02 * shift


def test_the_spread_of_the_quadratic_is_what_its_settings_say() -> None:
    config = {"dimensions": 2000, "heterogeneity": 0.5, "noise": 0.2, "lr": 0.1}
    rows = rows_of(QuadraticWorkload, config, 30, 8)
    kept = 0.9 ** np.arange(8)
    bias, noise = 0.5 * (1 - 0.9**8), 0.2 * 0.1 * math.sqrt(float(kept @ kept))
    assert rows.std(axis=0).mean() == pytest.approx(math.hypot(bias, noise), rel=0.03)


def test_newton_finds_what_slow_descent_finds() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    labels = (rng.random(60) < 0.3).astype(np.float32)
    w = np.zeros(3)
    for _ in range(3000):
        p = 1 / (1 + np.exp(-(x @ w)))
        w -= 0.5 * (x.T @ (p - labels) / 60 + 0.05 * w)
    found = find_optimum(x, labels, 0.05)
    assert found == pytest.approx(w, abs=1e-9)
    nearby = [found + 1e-3 * rng.standard_normal(3) for _ in range(20)]
    assert all(
        compute_loss(x, labels, 0.05, v) > compute_loss(x, labels, 0.05, found) for v in nearby
    )


@pytest.mark.parametrize(
    "config", [{"l2": 1e-6, "label_noise": 0.0}, {"condition": 1e6}, {"positive": 0.01}]
)
def test_the_optimum_of_a_hard_problem_is_found(config: dict[str, Any]) -> None:
    workload = LogisticWorkload(config, 7)
    problem = workload._problem
    off = 1 / (1 + np.exp(-(problem.x @ problem.optimum))) - problem.labels
    gradient = problem.x.T @ off / len(problem.x) + problem.l2 * problem.optimum
    assert np.linalg.norm(gradient) < 1e-6  # of float32


def test_the_classes_are_as_uneven_as_asked() -> None:
    def positive(**config: float) -> float:
        return float(np.mean(LogisticWorkload(config, 2)._problem.labels))

    assert positive(positive=0.1, label_noise=0.0) == pytest.approx(0.1, abs=0.002)
    assert positive(positive=0.1, label_noise=0.25) == pytest.approx(0.3, abs=0.04)
    clean = LogisticWorkload({"label_noise": 0.0}, 2)
    noisy = LogisticWorkload({"label_noise": 0.2}, 2)
    assert clean.evaluate(clean._optimum)["accuracy"] > 0.97
    assert noisy.evaluate(noisy._optimum)["accuracy"] == pytest.approx(0.8, abs=0.04)
