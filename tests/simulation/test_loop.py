"""The virtual-time loop: its clock, its order, and how it fails."""

import asyncio
import os
import subprocess
import sys

import pytest

from simulator.loop import Deadlock, run
from simulator.seeds import rng

ORDER_SCRIPT = """
import asyncio
from simulator.loop import run
from simulator.seeds import rng

async def main():
    order = []

    async def wait_long(i):
        try:
            await asyncio.sleep(1 + i % 3)
        except asyncio.CancelledError:
            order.append(i)
            raise

    async def fail():
        await asyncio.sleep(0.5)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            for i in range(50):
                group.create_task(wait_long(i))
            group.create_task(fail())
    except* ValueError:
        pass
    return order

print(run(main()), rng(1, "link", "a", "b").integers(0, 1 << 62))
"""


async def test_the_suite_runs_on_the_virtual_loop() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() == pytest.approx(started + 3600, abs=1e-5)


def test_a_year_of_sleeps_ends() -> None:
    async def main() -> float:
        for _ in range(366):
            await asyncio.sleep(86_400.0)
            await asyncio.sleep(1e-4)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(366 * 86_400.0, abs=1.0)


def test_a_timeout_fires_at_its_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.sleep(100)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(2.5, abs=1e-5)


def test_a_deadlock_is_loud_and_names_who_waits() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="wait_for_nothing"):
        run(wait_for_nothing())


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(int)

    with pytest.raises(RuntimeError, match="Compute port"):
        run(main())


def test_a_failure_in_a_task_that_nobody_awaits_ends_the_run() -> None:
    kept = []

    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        kept.append(asyncio.get_running_loop().create_task(fail()))
        await asyncio.sleep(1)
        kept.clear()

    with pytest.raises(ValueError, match="lost"):
        run(main())


def test_shuffled_ties_explore_orders_and_repeat_by_seed() -> None:
    async def main() -> tuple[int, ...]:
        order: list[int] = []

        async def note(i: int) -> None:
            await asyncio.sleep(0)
            order.append(i)

        async with asyncio.TaskGroup() as group:
            for i in range(6):
                group.create_task(note(i))
        return tuple(order)

    by_seed = [run(main(), tie_rng=rng(seed, "ties")) for seed in range(8)]
    assert len(set(by_seed)) > 1
    assert by_seed == [run(main(), tie_rng=rng(seed, "ties")) for seed in range(8)]
    assert run(main()) == (0, 1, 2, 3, 4, 5)


def test_cancel_order_and_streams_do_not_depend_on_the_hash_seed() -> None:
    def output(hash_seed: str, *flags: str) -> str:
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, *flags, "-c", ORDER_SCRIPT]
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    outputs = {output("1"), output("2"), output("3", "-X", "dev")}
    assert len(outputs) == 1


def test_streams_of_different_paths_differ() -> None:
    paths = [("ab",), ("a", "b"), (1,), ("1",), ("a", "b", 0)]
    assert len({int(rng(7, *path).integers(0, 1 << 62)) for path in paths}) == len(paths)
    assert rng(7, "a").integers(0, 1 << 62) != rng(8, "a").integers(0, 1 << 62)
