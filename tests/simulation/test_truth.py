"""The error of a rule, measured against a known optimum in whole swarms with liars.

Allouah et al. 2023, arXiv:2302.01772: an (f, kappa)-robust rule is off by at most kappa times the
variance of the honest updates, so that descent ends within a constant times kappa * G^2 of the
optimum, where G is the heterogeneity; without heterogeneity it ends where it would without liars.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario
from simulator.workloads.logistic import LogisticWorkload

ROBUST = ("centered_clip", "trimmed_mean", "median", "multi_krum", "geometric_median")
WITHIN = 6.0
"""Factor on the loss of a mean without liars: what any of the rules may lose to them here."""
SEED, ROUNDS = 3, 10
NODES, LIARS = 7, 2
JOBS: Mapping[str, Mapping[str, Any]] = {
    "quadratic": {"dimensions": 200},
    "logistic": {"features": 20, "label_noise": 0.05},
}


@cache
def end(
    rule: str, attack: str = "", heterogeneity: float = 0.0, job: str = "quadratic"
) -> Mapping[str, float]:
    """Worst metrics of the honest nodes after the last round."""
    scenario = Scenario(
        nodes=NODES,
        rounds=ROUNDS,
        framed=False,
        job={
            "workload_name": job,
            "workload": {**JOBS[job], "heterogeneity": heterogeneity},
            "round": {"steps": 10},
            "exchange": {"rule": rule},
        },
        attacks=(AttackSection(name=attack, scale=10.0),) if attack else (),
    )
    assert scenario.f == LIARS
    outcome = run_scenario(scenario, seed=SEED)
    assert outcome.violations == []
    assert outcome.rounds == ROUNDS
    return outcome.metrics


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("heterogeneity", [0.0, 0.5])
def test_liars_cost_a_robust_rule_no_more_than_a_factor(rule: str, heterogeneity: float) -> None:
    clean = end("mean", heterogeneity=heterogeneity)["loss"]
    assert clean < 0.02
    assert end(rule, "sign_flip", heterogeneity)["loss"] < WITHIN * clean


def test_liars_cost_the_mean_everything() -> None:
    assert end("mean")["loss"] < 1e-4
    assert end("mean", "sign_flip")["loss"] > 1.0, "it should be worse than at the start"


@pytest.mark.parametrize("rule", ROBUST)
def test_the_floor_grows_with_the_square_of_heterogeneity(rule: str) -> None:
    losses = [end(rule, "sign_flip", h)["loss"] for h in (0.0, 0.5, 1.0)]
    assert losses[0] < losses[1] / 50
    assert 2 < losses[2] / losses[1] < 8  # 4 in the limit of many rounds


@pytest.mark.parametrize("rule", ["trimmed_mean", "median", "geometric_median"])
def test_the_floor_is_below_the_bound_of_the_theory(rule: str) -> None:
    # Table 1 there. Each round contracts the error by q and adds at most q sqrt(kappa) times the
    # deviation of the honest optima, and their mean is off by at most that deviation.
    a = LIARS / (NODES - 2 * LIARS)
    kappa = 6 * a * (1 + a) if rule == "trimmed_mean" else 4 * (1 + a) ** 2
    for heterogeneity in (0.5, 1.0):
        error = end(rule, "sign_flip", heterogeneity)["error"]
        assert error < heterogeneity * (1 + math.sqrt(kappa))
        assert error > 0.2 * heterogeneity, "the liars did nothing"


@pytest.mark.parametrize("rule", ["centered_clip", "multi_krum"])
def test_flipped_labels_shift_the_mean_and_not_a_robust_rule(rule: str) -> None:
    workload = LogisticWorkload(JOBS["logistic"], SEED)
    start = workload.evaluate(workload.initial())["loss"]
    shifted, kept = (end(r, "label_flip", 0.5, "logistic")["loss"] for r in ("mean", rule))
    assert shifted > 0.2 * start
    assert kept < 0.1 * start
