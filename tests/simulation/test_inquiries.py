"""A memory whose index is in pieces: whole daemons ask one another, and one of them lies."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faiss", reason="the extra artel-node[rac] is not installed")

from node.errors import Refused
from node.ports import InquireRequest, Ports, Shard, Sign, Worker
from node.types import JobId
from node.wire.convert_memory import encode_question as encode_message
from node.wire.memory_messages import Question
from simulator.attacks.base import Attack
from simulator.attacks.shells import ComputeShell, WorkerShell
from simulator.scenario import Scenario
from simulator.world import World
from tests.simulation.test_memory_jobs import until_equal, until_round
from tests.unit import rac_data
from workloads.rac.workload import RacWorkload
from workloads.recall.sharding import Named, decode_answer, encode_answer, encode_question

ROUNDS = 3
LIAR, FOLLOWER = 3, 4


class false_neighbours(Attack):
    """Answers with true entries that are near to other queries, and hides those that are asked."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker's answers are changed on their way out."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Lying(ports.compute))


class _Lying(ComputeShell):
    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = (0, 1)
    ) -> Worker:
        return _LyingWorker(await self.inner.start_worker(workload, config, seed, shard))


class _LyingWorker(WorkerShell):
    async def inquire(self, request: InquireRequest) -> bytes:
        said = await self.inner.inquire(request)
        if not request.question:
            return said
        queries, _, k = np.frombuffer(request.question, "<u2", 3).tolist()
        true = decode_answer(said, queries, k)
        return encode_answer(Named(true.authors, np.roll(true.digests, 1, axis=1)))


def workload(world: World, index: int) -> RacWorkload:
    found: Any = world.nodes[index].compute.workers[-1]._workload
    assert isinstance(found, RacWorkload)
    return found


async def test_each_indexes_a_part_and_finds_what_all_know_though_one_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = rac_data.config(rac_data.write(tmp_path / "data.npz"), vote="label", copies=2)
    tables = {"workload_name": "rac", "workload": settings, "round": {"steps": 12}}
    world = World(Scenario(nodes=4, followers=1, rounds=ROUNDS, job=tables), seed=5)
    world.attack({LIAR: false_neighbours(scale=1.0, seed=5)})
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit(world.manifest(), {})
        await until_round(world, ROUNDS, *range(4))
        await until_equal(world, *range(4))
        await asyncio.sleep(30)
        for index in range(LIAR):
            mine = workload(world, index)
            inquiry, catalogue = mine.inquiry, mine._catalogue
            assert inquiry is not None
            assert catalogue is not None
            assert inquiry.ask() == b"", "there is something left to ask"
            assert (inquiry.refused, inquiry.unknown) == (0, 0)
            nearest = np.full(len(mine.test), -1.0)
            shelves = catalogue.memory._shelves
            for shelf in shelves:
                keys = shelf.index.rows(np.arange(len(shelf)))
                nearest = np.maximum(nearest, (mine.test.features @ keys.T).max(axis=1))
            found = mine.test.found(np.arange(len(mine.test)))
            assert np.allclose(found.similarity[:, 0], nearest, atol=1e-3)
            indexed = sum(len(shelf.index._numbers) for shelf in shelves[1:])
            assert mine.test.answered == 1
            assert 0.3 < indexed / sum(map(len, shelves[1:])) < 0.7, "two of four index an entry"
        await _refuses(world)


async def _refuses(world: World) -> None:
    """What nobody is answered, whose call it may be."""
    assert world.job is not None
    job, target = JobId(bytes.fromhex(world.job[0])), world.nodes[0].peer
    sound = encode_question(workload(world, 0).test.features[:1], 3)

    async def ask(caller: int, body: bytes) -> bytes:
        transport = world.network.hosts[world.nodes[caller].peer].transport
        data = encode_message(Question(job, body))
        return await transport.call(
            target, "inquire/1", data, timeout_s=5.0, reply_bytes_max=1 << 20
        )

    assert decode_answer(await ask(LIAR, sound), 1, 3).authors
    with pytest.raises(Refused, match="no answer"):
        await ask(LIAR, sound[:-1])
    with pytest.raises(Refused, match="only founders"):
        await ask(FOLLOWER, sound)
    spam = await asyncio.gather(*(ask(LIAR, b"x") for _ in range(60)), return_exceptions=True)
    assert any("too often" in str(said) for said in spam)
    await ask(1, sound)  # others are answered all the same
