"""Shared memory in drawn weather: crashes, torn disks, cuts, full disks, loss, and a forking liar.

All of it is drawn from the seed. While it lasts nothing that was shown is lost and nobody honest is
blamed; once it is over all honest nodes hold the same, and every consumer was told exactly that.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from node.errors import Unavailable
from node.memory import log
from node.memory.config import MemoryPace, MemorySpec
from node.types import PeerId
from node.wire.convert_memory import encode_batch
from node.wire.memory_messages import Batch
from simulator.loop import run
from simulator.memory_liar import MemoryLiar, chain_of, line_of
from simulator.memory_world import MemoryNode, MemoryWorld
from simulator.seeds import rng
from simulator.wire.links import LinkModel

SEEDS = int(os.environ.get("ARTEL_MEMORY_SEEDS", "12"))
NODES = 5
LIAR = 4
WEATHER_S = 25.0
CALM_S = 90.0


class Weather:
    """One drawn run."""

    def __init__(self, seed: int) -> None:
        self.rng = rng(seed, "weather")
        spec = MemorySpec(
            key_dims=int(self.rng.integers(1, 40)),
            entries_per_author=int(self.rng.integers(40, 600)),
            batches_per_author=int(self.rng.integers(6, 60)),
        )
        link = LinkModel(
            latency_s=float(self.rng.uniform(0.002, 0.15)),
            jitter_s=float(self.rng.uniform(0, 0.1)),
            loss_rate=float(self.rng.choice([0.0, 0.02, 0.1])),
            duplicate_rate=float(self.rng.choice([0.0, 0.05])),
        )
        pace = MemoryPace(queue_batches=int(self.rng.integers(1, 40)))
        self.world = MemoryWorld(
            NODES, seed, spec=spec, link=link, pace=pace, fsync_s=float(self.rng.uniform(0, 0.02))
        )
        self.lies = bool(self.rng.random() < 0.7)
        self.last_made = [0] * NODES
        self.halves: list[list[PeerId]] = []

    @property
    def honest(self) -> list[MemoryNode]:
        return [n for n in self.world.nodes if n.index not in self.world.liars]

    async def run(self) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        for index in range(NODES - self.lies):
            await world.start(index)
        if self.lies:
            self.liar = self.forker()
        while loop.time() < WEATHER_S:
            await self.happens()
            await asyncio.sleep(float(self.rng.exponential(0.15)))
            self.nothing_shown_is_lost()
        await self.calm()
        await world.close()

    def forker(self) -> MemoryLiar:
        """An author with two stories, which it tells by the caller; one may be honest for long."""
        world, signer = self.world, self.world.nodes[LIAR].signer
        liar = MemoryLiar(world.lie(LIAR).transport)
        most = world.spec.entries_per_batch
        sizes = [int(n) for n in self.rng.integers(1, most + 1, 60)]
        trunk = chain_of(signer, world.spec, sizes)
        at = int(self.rng.integers(0, 60))
        after = trunk[at - 1].signed if at else None
        stories = [trunk, trunk[:at] + chain_of(signer, world.spec, sizes[at:], 1.0, after)]
        for node in world.nodes[:LIAR]:
            self.tell(liar, node.peer, stories[int(self.rng.integers(2))])
        return liar

    def tell(self, liar: MemoryLiar, peer: PeerId, story: list[Batch]) -> None:
        first = int(self.rng.integers(0, len(story)))
        last = int(self.rng.integers(first, len(story))) + 1
        liar.lines_for[peer] = [line_of(story[first:last])]
        before: Callable[[PeerId, PeerId, int], object] = liar.chunks

        def chunks(caller: PeerId, author: PeerId, seq: int) -> list[bytes]:
            if caller != peer:
                return before(caller, author, seq)  # type: ignore[return-value]
            told = story[max(seq, first) : last]
            return [encode_batch(b) for b in told if b.header.author == author]

        liar.chunks = chunks

    async def happens(self) -> None:
        world, node = self.world, self.honest[int(self.rng.integers(len(self.honest)))]
        what = self.rng.random()
        if what < 0.06:
            if node.service is None:
                await self.restart(node)
            else:
                await world.crash(node.index)
        elif what < 0.09:
            if world.network.cuts.active:
                world.network.heal()
            else:
                order = [int(i) for i in self.rng.permutation(NODES)]
                cut = int(self.rng.integers(1, NODES))
                world.partition(order[:cut], order[cut:])
        elif what < 0.11:
            node.store.fill() if self.rng.random() < 0.5 else node.store.unfill()
        elif what < 0.16 and self.lies and node.service is not None:
            with suppress(Unavailable):
                await self.liar.hint(node.peer)
        elif node.service is not None:
            most = 2 * world.spec.entries_per_batch
            with suppress(Unavailable):
                await world.append(node.index, int(self.rng.integers(1, most + 1)))

    async def restart(self, node: MemoryNode) -> None:
        node.store.unfill()
        service = await self.world.start(node.index)
        reach = service.frontier().get(node.peer)
        node.made = reach.entries if reach else 0
        assert node.made >= self.last_made[node.index], "an append that returned is lost"

    def nothing_shown_is_lost(self) -> None:
        for node in self.honest:
            if node.service is None:
                continue
            self.last_made[node.index] = node.made
            held = node.service._holding.set
            for author in held.authors:
                assert held.chain(author).is_complete
        for node in self.honest:  # nobody holds what its author might not have after a crash
            for service in self.world.honest:
                reach = service.frontier().get(node.peer)
                assert reach is None or node.service is None or reach.entries <= node.made

    async def calm(self) -> None:
        world = self.world
        world.network.heal()
        for node in self.honest:
            node.store.unfill()
            if node.service is None:
                await self.restart(node)
        for node in self.honest:
            await world.append(node.index, 1)
        await world.until(self.is_settled, CALM_S)
        await asyncio.sleep(1)
        liar = {world.nodes[LIAR].peer} if self.lies else set()
        assert world.blamed() <= liar, world.blamed()
        for node in self.honest:
            self.consumer_knows_what_is_held(node)

    def is_settled(self) -> bool:
        made = {node.peer: node.made for node in self.honest}
        return self.world.all_equal() and all(
            service.frontier()[peer].entries == count
            for service in self.world.honest
            for peer, count in made.items()
            if peer in service.frontier()
        )

    def consumer_knows_what_is_held(self, node: MemoryNode) -> None:
        assert node.service is not None
        known: dict[PeerId, dict[int, int]] = {}
        for _, change in node.taken:
            mine = known.setdefault(change.author, {})
            if change.batch is None:
                mine.clear()
                continue
            assert not mine or change.first_entry >= max(mine) + mine[max(mine)], "out of order"
            mine[change.first_entry] = change.batch.header.entries
        held = node.service._holding.set
        for author in held.authors:
            if author == node.peer:
                continue  # own batches of this life are not told
            kept = {s.header.first_entry: s.header.entries for s in held.chain(author).headers()}
            floor = held.chain(author).first_entry
            assert {e: n for e, n in known.get(author, {}).items() if e >= floor} == kept


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_any_weather_all_honest_nodes_hold_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SEGMENT_BYTES", 3000)  # a few batches
    run(Weather(seed).run(), tie_rng=np.random.default_rng(seed))
