"""What one run refuses, and what its outcome says."""

import math
from pathlib import Path

import pytest

from node.errors import ConfigError
from simulator.hub import Watcher
from simulator.run import run_scenario, worst_metrics
from simulator.scenario import FaultSection, HostSection, Scenario, load_scenario
from simulator.world import NO_FOLDER


class Lives(Watcher):
    """Keeps how nodes began and ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def life(self, at_s: float, node: int, what: str) -> None:
        self.seen.append((node, what))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("job.workload_name", "frob", "no workload 'frob'"),
        ("job.workload.frob", "1", "frob is not a setting"),
        ("job.workload.dimensions", "-1", "dimensions = -1"),
        ("job.exchange.rule", "frob", "no rule is called 'frob'"),
        ("job.exchange.rule_small", "frob", "no rule is called 'frob'"),
        ("job.exchange.codec", "frob", "no codec is called 'frob'"),
        ("job.exchange.result_codec", "frob", "no codec is called 'frob'"),
        ("job.exchange.frob", "1", "exchange.frob is not a setting"),
        ("attacks", '[{name = "frob"}]', "no attack is called 'frob'"),
    ],
)
def test_a_job_that_no_node_would_take_is_refused_before_any_starts(
    key: str, value: str, says: str
) -> None:
    lives = Lives()
    with pytest.raises(ConfigError, match=says):
        run_scenario(load_scenario("calm", {key: value}), 0, watchers=[lambda _: lives])
    assert lives.seen == []


def test_the_worst_of_a_metric_depends_on_what_is_better() -> None:
    nodes = [{"loss": 0.1, "psnr_db": 30.0}, {"loss": 0.3, "psnr_db": 20.0, "accuracy": 0.5}]
    nodes.append({"loss": 0.2, "psnr_db": 25.0, "accuracy": 0.9})
    assert worst_metrics(nodes) == {"loss": 0.3, "psnr_db": 20.0, "accuracy": 0.5}


def test_no_number_is_the_worst_wherever_it_stands() -> None:
    for values in ([math.nan, 1.0, 2.0], [1.0, math.nan, 2.0], [1.0, 2.0, math.nan]):
        for name in ("loss", "accuracy"):
            assert math.isnan(worst_metrics({name: value} for value in values)[name])


@pytest.mark.parametrize(
    "trouble",
    [
        {"faults": (FaultSection(kind="late", nodes=(0,), at_s=3.0),)},
        {"faults": (FaultSection(kind="late", nodes=(0, 1), at_s=3.0),)},
        {"hosts": (HostSection(nodes=(0,), nat="symmetric"),)},
        {"hosts": (HostSection(nodes=(0, 1), nat="cone"),)},
    ],
)
def test_the_first_node_may_come_late_or_hide_behind_a_nat(trouble: dict[str, object]) -> None:
    scenario = Scenario(nodes=5, followers=1, rounds=5, limit_s=120.0).model_copy(update=trouble)
    outcome = run_scenario(scenario, 3)
    assert outcome.violations == []
    assert outcome.rounds == 5


def test_faults_that_never_came_are_told() -> None:
    faults = (
        FaultSection(kind="crash", nodes=(1,), round=9),
        FaultSection(kind="crash", nodes="leader", round=2, phase="plan"),
        FaultSection(kind="clock", nodes=(2,), at_s=1e6),
    )
    outcome = run_scenario(Scenario(nodes=4, rounds=3, faults=faults), 0)
    assert outcome.not_shown == (
        "a fault that never came: crash of nodes [1] in round 9",
        "a fault that never came: clock of nodes [2] at 1e+06 s",
    )


def test_who_leaves_stops_and_who_crashes_crashes() -> None:
    faults = (
        FaultSection(kind="leave", nodes=(1,), round=2, for_s=1.0),
        FaultSection(kind="crash", nodes=(2,), round=2, for_s=1.0),
    )
    lives = Lives()
    scenario = Scenario(nodes=5, rounds=6, faults=faults)
    assert run_scenario(scenario, 0, watchers=[lambda _: lives]).ok
    ends = {node: what for node, what in reversed(lives.seen) if what != "start"}
    assert (ends[1], ends[2]) == ("stop", "crash")


def test_recovery_is_null_if_somebody_never_recovered() -> None:
    faults = (FaultSection(kind="crash", nodes=(4,), at_s=1.0, for_s=1.0),)
    scenario = Scenario(nodes=5, rounds=1000, faults=faults, limit_s=2.2)
    assert run_scenario(scenario, 0).recovery_virtual_s is None


def test_a_run_writes_nothing_beside_what_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_scenario(load_scenario("inr_small", {"job.round.artifacts_every": "1"}), 0).ok
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotADirectoryError):
        (NO_FOLDER / "node-0").mkdir(parents=True)
