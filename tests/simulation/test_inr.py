"""The real image workload, torch included, in virtual time."""

from collections.abc import Iterator

import pytest
import torch

from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, Scenario
from workloads.inr import InrWorkload

PICTURE = {
    "image": "astronaut",
    "size": 24,
    "hidden_layers": 2,
    "hidden_width": 24,
    "pixels_per_step": 256,
    "lr": 0.003,
}
ROUNDS, SEED = 3, 11
SCENARIO = Scenario(
    name="inr",
    nodes=4,
    rounds=ROUNDS,
    job={"workload_name": "inr", "workload": PICTURE, "round": {"steps": 40}},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def psnr_db_at_the_start() -> float:
    workload = InrWorkload(PICTURE, SEED)
    return workload.evaluate(workload.initial())["psnr_db"]


def fit(scenario: Scenario) -> Outcome:
    outcome = run_scenario(scenario, SEED)
    assert outcome.violations == []
    assert outcome.rounds == ROUNDS
    return outcome


def test_a_picture_gets_better_and_its_run_repeats_in_one_process() -> None:
    first, again = fit(SCENARIO), fit(SCENARIO)
    assert first.metrics["psnr_db"] > psnr_db_at_the_start() + 3
    assert again.trace_digest == first.trace_digest
    assert again.metrics == first.metrics


def test_a_picture_gets_better_beside_a_liar() -> None:
    liar = (AttackSection(name="sign_flip", scale=10.0),)
    honest = fit(SCENARIO.model_copy(update={"attacks": liar}))
    assert honest.metrics["psnr_db"] > psnr_db_at_the_start() + 3
