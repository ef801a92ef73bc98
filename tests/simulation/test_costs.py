"""What compute costs in virtual time: by class of host, slowness and stragglers; never measured."""

import asyncio

import numpy as np

from node.ports import TrainReply, TrainRequest
from simulator.host.compute import MACHINES, CostModel, SimCompute, cost_of
from simulator.scenario import HostSection


async def train(compute: SimCompute, round_: int, deadline_s: float = 1e6) -> TrainReply:
    worker = await compute.start_worker("quadratic", {"dimensions": 8}, 1)
    start = await worker.initial()
    return await worker.train(TrainRequest(start, round_, 10, bytes(32), 20, deadline_s))


async def test_a_step_costs_what_the_class_of_the_host_says() -> None:
    loop = asyncio.get_running_loop()
    for machine, (step_s, maths_factor) in MACHINES.items():
        compute = SimCompute(cost_of(HostSection.model_validate({"machine": machine}), 1, 0))
        started = loop.time()
        reply = await train(compute, 1)
        assert np.isclose(loop.time() - started, 20 * step_s)
        assert reply.seconds == 20 * step_s
        started = loop.time()
        assert await compute.maths(lambda: 7, cost_s=0.5) == 7
        assert np.isclose(loop.time() - started, 0.5 * maths_factor)


async def test_slowness_can_be_set_while_a_host_runs_and_costs_steps_at_the_deadline() -> None:
    compute = SimCompute(CostModel(step_s=0.01))
    assert (await train(compute, 1, deadline_s=0.2)).steps_done == 20
    compute.slowness = 2.0
    assert (await train(compute, 1, deadline_s=0.2)).steps_done == 10
    compute.slowness = 1000.0
    slow = await train(compute, 1, deadline_s=0.2)
    assert slow.steps_done == 5, "a quarter is done whatever it takes"
    assert np.isclose(slow.seconds, 5 * 0.01 * 1000)


def test_stragglers_are_drawn_by_host_and_round_and_drawn_again_the_same() -> None:
    host = HostSection(straggle_rate=0.2)
    rates = []
    for index in range(20):
        cost = cost_of(host, 5, index)
        seconds = [cost.round_step_s(round_) for round_ in range(1, 101)]
        assert seconds == [cost_of(host, 5, index).round_step_s(r) for r in range(1, 101)]
        assert set(seconds) == {cost.step_s, cost.step_s * cost.straggle_factor}
        rates.append(np.mean(np.array(seconds) > cost.step_s))
    assert 0.15 < np.mean(rates) < 0.25
    assert len(set(rates)) > 5, "all hosts straggle in the same rounds"
