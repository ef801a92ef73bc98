"""A round replays bit for bit from its local state, and no hostile local state is taken."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.adapters.compute_class import compute_class, cpu_facts
from node.adapters.replaying import Replaying
from node.jobs.encoding import optimizer_hash
from node.ports import LOCAL_STATES_KEPT, WHOLE, ReplayRequest
from simulator.workloads.logistic import LogisticWorkload
from simulator.workloads.quadratic import QuadraticWorkload
from workloads.api import FloatVector, Replayable, Workload, WorkloadError
from workloads.inr import InrWorkload

SEED = b"decision and peer"
INR = {"image": "astronaut", "size": 16, "hidden_layers": 2, "hidden_width": 16}
MAKERS: dict[str, Any] = {
    "inr": lambda: InrWorkload({**INR, "pixels_per_step": 64}, 1),
    "quadratic": lambda: QuadraticWorkload({"dimensions": 300, "heterogeneity": 0.3}, 1),
    "logistic": lambda: LogisticWorkload({"samples": 50, "features": 5}, 1),
}


def steps_of(workload: Workload, params: FloatVector, round_: int, steps: int) -> FloatVector:
    """A round of ``steps`` of 8 nominal ones, ended by the clock as on a slow machine."""
    times = iter(range(100))
    done = workload.train(
        params, round_=round_, rounds=9, data_seed=SEED + bytes([round_]), steps=8,
        deadline_s=float(steps), continued=False, clock=lambda: float(next(times)),
    )  # fmt: skip
    assert done.steps_done == steps
    return done.update


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("steps", [2, 5, 8])
def test_a_round_replays_bit_for_bit_from_what_was_kept(name: str, steps: int) -> None:
    author, auditor = MAKERS[name](), MAKERS[name]()
    assert isinstance(author, Replayable)
    theirs = Replaying(author, lambda shard: MAKERS[name]())
    ours = Replaying(auditor, lambda shard: MAKERS[name]())
    params = author.initial()
    for round_ in (1, 2, 3):  # the auditor's own replica goes its own way
        steps_of(auditor, params, round_ + 4, 8)
    before_own = auditor.local_state()
    for round_ in (1, 2, 3):
        before = theirs.begin(round_)
        update = steps_of(author, params, round_, steps)
        kept = theirs.opening(round_)
        assert kept is not None
        assert optimizer_hash(kept) == before
        request = ReplayRequest(params, round_, 9, SEED + bytes([round_]), 8, steps, kept, WHOLE)
        replayed = ours.replay(request)
        assert replayed is not None
        assert replayed[0].tobytes() == update.tobytes()
        assert replayed[1] == theirs.end()
        params = params - update
    assert auditor.local_state() == before_own
    assert theirs.opening(3 - LOCAL_STATES_KEPT) is None


def test_a_replay_from_another_state_or_of_other_steps_is_another_update() -> None:
    author = MAKERS["inr"]()
    replaying = Replaying(author, lambda shard: MAKERS["inr"]())
    first = steps_of(author, author.initial(), 1, 8)
    params = author.initial() - first
    replaying.begin(2)
    second = steps_of(author, params, 2, 8)
    kept = replaying.opening(2)
    assert kept
    for state, done in ((b"", 8), (kept, 7)):
        replayed = replaying.replay(
            ReplayRequest(params, 2, 9, SEED + b"\2", 8, done, state, WHOLE)
        )
        assert replayed is not None
        assert replayed[0].tobytes() != second.tobytes()


def test_a_reverted_replica_goes_on_as_if_the_round_had_not_been() -> None:
    plain, turned = MAKERS["inr"](), MAKERS["inr"]()
    params = plain.initial()
    replaying = Replaying(turned, lambda shard: MAKERS["inr"]())
    for workload in (plain, turned):
        steps_of(workload, params, 1, 8)
    replaying.begin(2)
    steps_of(turned, params, 2, 3)
    replaying.revert(2)
    replaying.revert(7)  # not kept: nothing to return to
    assert steps_of(turned, params, 3, 8).tobytes() == steps_of(plain, params, 3, 8).tobytes()


LOADED = MAKERS["inr"]()
D = len(LOADED.initial())


@given(st.binary(max_size=64) | st.sampled_from([4 + 8 * D - 1, 4 + 8 * D + 1]).map(bytes))
def test_an_adam_state_of_another_length_is_refused(data: bytes) -> None:
    if data:
        with pytest.raises(WorkloadError, match="expected"):
            LOADED.load_local_state(data)


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0.0), (0, 1.5), (0, math.inf), (1, math.nan), (-1, -1.0)]
)
def test_an_adam_state_that_no_training_reaches_is_refused(at: int, value: float) -> None:
    values = np.zeros(1 + 2 * D, "<f4")
    values[0] = 3
    workload = MAKERS["inr"]()
    workload.load_local_state(values.tobytes())
    values[at] = value
    with pytest.raises(WorkloadError, match="no training reaches"):
        workload.load_local_state(values.tobytes())
    assert struct.unpack("<f", workload.local_state()[:4]) == (3,)


def test_plain_descent_has_no_local_state() -> None:
    workload = MAKERS["quadratic"]()
    assert workload.local_state() == b""
    with pytest.raises(WorkloadError, match="no local state"):
        workload.load_local_state(b"x")


def test_the_compute_class_tells_threads_and_instructions_apart() -> None:
    assert len(compute_class(1)) in (0, 32)
    if compute_class(1):
        assert compute_class(1) == compute_class(1) != compute_class(2)
    text = (
        "processor\t: 0\nvendor_id\t: A\nflags\t\t: fpu avx2 fma lm\n\nprocessor\t: 1\nflags: x\n"
    )
    assert cpu_facts(text) == "A avx2 fma"
    assert cpu_facts("") == ""
