"""Waits follow what a quorum needs; neither liars nor a slow machine spoil them for long."""

from node.exchange.deadlines import (
    EXCHANGE_STEPS,
    FIRST_STEP_S,
    Bounds,
    DeadlineEstimator,
    Durations,
    Failed,
)

BOUNDS = Bounds(commit_s_min=0.05, commit_s_max=30.0, view_s_min=1.0, view_s_max=60.0)


def round_of(seconds: float) -> Durations:
    return Durations(commit_s=seconds / 2, step_s=seconds / 10, round_s=seconds)


def test_first_round_waits_as_long_as_the_manifest_allows() -> None:
    assert DeadlineEstimator(BOUNDS).deadlines().commit_s == BOUNDS.commit_s_max


def test_one_slow_round_does_not_move_the_waits() -> None:
    estimator = DeadlineEstimator(BOUNDS)
    for _ in range(9):
        estimator.add(round_of(2.0))
    before = estimator.deadlines()
    estimator.add(round_of(50.0))
    assert estimator.deadlines() == before


def test_a_swarm_that_becomes_ten_times_slower_goes_on_certifying() -> None:
    estimator = DeadlineEstimator(BOUNDS)
    for _ in range(40):
        estimator.add(round_of(1.0))
    closed = []
    for _ in range(60):
        good = estimator.deadlines().commit_s >= 5.0
        estimator.add(round_of(10.0) if good else Failed())
        closed.append(good)
    assert sum(closed[:30]) >= 15
    assert all(closed[30:])


def test_leaders_who_always_stall_do_not_drive_the_waits_up() -> None:
    for n in (4, 7, 10, 31, 64):
        estimator = DeadlineEstimator(BOUNDS)
        for _ in range(40):
            estimator.add(round_of(1.0))
        calm = estimator.deadlines()
        for _ in range(20):
            for leader in range(n):
                estimator.add(Failed() if leader < (n - 1) // 3 else round_of(1.0))
        assert estimator.deadlines() == calm, n


def test_waits_stay_within_the_manifest_whatever_fails() -> None:
    estimator = DeadlineEstimator(BOUNDS)
    for _ in range(100):
        estimator.add(Failed())
    waits = estimator.deadlines()
    assert waits.commit_s == BOUNDS.commit_s_max
    assert waits.view_s == BOUNDS.view_s_max


def test_a_view_always_has_time_for_the_waits_of_an_honest_leader() -> None:
    estimator = DeadlineEstimator(BOUNDS)
    rounds: list[Durations | Failed] = [*[Failed()] * 12, *[round_of(1.0)] * 40, *[Failed()] * 12]
    for closed in rounds:
        waits = estimator.deadlines()
        committed_s = min(waits.commit_s, estimator.commit_usual_s + waits.grace_s)
        assert waits.view_s >= committed_s + EXCHANGE_STEPS * waits.step_s - 1e-9
        estimator.add(closed)


def test_a_node_that_reduced_nothing_still_learns_the_other_waits() -> None:
    estimator = DeadlineEstimator(BOUNDS)
    estimator.add(Durations(commit_s=1.0, step_s=None, round_s=2.0))
    waits = estimator.deadlines()
    assert (waits.commit_s, waits.grace_s) == (4.0, 0.5)
    assert waits.step_s == FIRST_STEP_S  # no longer than a round: 1.5 * 2.0
