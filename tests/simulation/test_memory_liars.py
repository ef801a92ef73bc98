"""Liars among authors and peers of shared memory: nobody honest loses anything or waits long."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from node.memory.config import MemoryPace, MemorySpec
from node.types import JobId, PeerId
from node.wire.convert_memory import encode_batch
from node.wire.memory_messages import Batch, ForkEvidence, MemoryLine
from simulator.memory_liar import MemoryLiar, bad_values, chain_of, forged, line_of
from simulator.memory_world import SMALL, MemoryWorld
from simulator.scenario import HostSection

LIAR = 3
DELAY_S = 3.0
"""No liar delays an honest batch by more."""


class Lies:
    """Three honest nodes, and a liar that is an author too."""

    def __init__(self, **options: Any) -> None:
        self.world = MemoryWorld(4, options.pop("seed", 1), **options)
        self.signer = self.world.nodes[LIAR].signer
        self.own = self.signer.peer_id

    async def start(self) -> MemoryLiar:
        for index in range(LIAR):
            await self.world.start(index)
        self.liar = MemoryLiar(self.world.lie(LIAR).transport)
        await asyncio.sleep(1)
        return self.liar

    async def hint(self) -> None:
        for node in self.world.nodes[:LIAR]:
            if node.service is not None:
                await self.liar.hint(node.peer)

    def chain(self, *sizes: int, value: float = 0.0) -> list[Batch]:
        return chain_of(self.signer, self.world.spec, sizes, value)

    def next_of(self, author: PeerId) -> list[int]:
        lines = [line for s in self.world.honest for line in s.lines() if line.author == author]
        return [line.next for line in lines]

    def reasons(self) -> set[tuple[PeerId, str]]:
        return {score for node in self.world.nodes for score in node.blamed}

    async def honest_entries_go_on(self, within_s: float = DELAY_S) -> None:
        """Each honest node appends; all have it soon, and blame nobody honest."""
        world = self.world
        for index in range(LIAR):
            await world.append(index, 20)
        due = {world.nodes[i].peer: world.nodes[i].made for i in range(LIAR)}

        def is_done() -> bool:
            made = [{a.author: a.made for a in s.status().authors} for s in world.honest]
            return all(m[author] >= least for m in made for author, least in due.items())

        await world.until(is_done, within_s)
        assert world.blamed() <= {self.own}


Make = Callable[..., Lies]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Lies] = []

    def one(**options: Any) -> Lies:
        made.append(Lies(**options))
        return made[-1]

    yield one
    for each in made:
        await each.world.close()


@pytest.fixture
def lies(make: Make) -> Lies:
    return make()


def spliced(batches: Sequence[Batch], left_out: int) -> list[bytes]:
    return [encode_batch(b) for b in batches if b.header.seq != left_out]


async def test_an_author_that_tells_each_side_another_story_is_cut_out_by_both(lies: Lies) -> None:
    liar = await lies.start()
    world = lies.world
    one, other = lies.chain(5, 5, 5, value=1.0), lies.chain(5, 5, 5, 5, value=2.0)
    left = [world.nodes[0].peer]
    world.partition([0], [1, 2])

    def chunks(caller: PeerId, author: PeerId, first: int) -> list[bytes]:
        return [encode_batch(b) for b in (one if caller in left else other)[first:]]

    liar.chunks = chunks
    for node in world.nodes[:LIAR]:
        liar.lines_for[node.peer] = [line_of(one if node.peer in left else other)]
    await lies.hint()
    await world.until(lambda: lies.next_of(lies.own) == [3, 4, 4], within_s=2.0)
    world.network.heal()
    await world.until(lambda: all(s.evidence() for s in world.honest), within_s=8.0)
    await world.until(world.all_equal, within_s=3.0)
    assert lies.next_of(lies.own) == [0, 0, 0]
    assert lies.reasons() >= {(lies.own, "equivocation")}
    assert lies.own not in world.honest[0].frontier()
    gone = [c for _, c in world.nodes[0].taken if c.author == lies.own and c.batch is None]
    assert len(gone) == 1  # the consumer was told to forget it
    await lies.honest_entries_go_on()
    root = world.roots()[0]
    await world.crash(0)
    await world.start(0)  # and it stays out over a restart
    assert world.roots()[0] == root


async def test_two_heads_of_equal_length_are_noticed(lies: Lies) -> None:
    liar = await lies.start()
    one, other = lies.chain(5, value=1.0), lies.chain(5, value=2.0)
    first = lies.world.nodes[0].peer
    liar.chunks = lambda caller, author, seq: [encode_batch((one if caller == first else other)[0])]
    for node in lies.world.nodes[:LIAR]:
        liar.lines_for[node.peer] = [line_of(one if node.peer == first else other)]
    await lies.hint()
    await lies.world.until(lambda: all(s.evidence() for s in lies.world.honest), within_s=8.0)
    await lies.world.until(lies.world.all_equal, within_s=1.0)
    await lies.honest_entries_go_on()


async def test_a_withheld_batch_stops_its_author_and_nobody_else(lies: Lies) -> None:
    liar = await lies.start()
    chain = lies.chain(*[4] * 8)
    liar.lines = [line_of(chain)]
    liar.chunks = lambda caller, author, first: spliced(chain[first:], left_out=3)
    await lies.hint()
    await lies.honest_entries_go_on()
    await asyncio.sleep(5)
    assert lies.next_of(lies.own) == [3, 3, 3]
    assert (lies.own, "malformed") in lies.reasons()
    liar.chunks = lambda caller, author, first: spliced(chain[first:], left_out=99)
    await lies.world.until(lambda: lies.next_of(lies.own) == [8, 8, 8], within_s=70.0)


async def test_a_gap_is_not_jumped_over_while_what_fits_the_quota_is_missing(lies: Lies) -> None:
    liar = await lies.start()
    chain = lies.chain(*[4] * 8)
    liar.lines = [line_of(chain[4:])]
    liar.chunks = lambda caller, author, first: spliced(chain[max(4, first) :], left_out=99)
    await lies.hint()
    await asyncio.sleep(5)
    assert lies.next_of(lies.own) == [0, 0, 0]
    await lies.honest_entries_go_on()


@pytest.mark.parametrize("kind", ["noise", "signature", "body", "job", "again", "other", "large"])
async def test_what_is_no_batch_is_blamed_on_who_sent_it(lies: Lies, kind: str) -> None:
    liar = await lies.start()
    world = lies.world
    await world.append(0, 10)
    await world.until(world.all_equal, within_s=1.0)
    good, second = lies.chain(5, 5, value=1.0)
    encoded = encode_batch(good)
    theirs = chain_of(world.nodes[0].signer, SMALL, [10], 7.0)[0]  # what 0 might have signed
    sent = {
        "noise": [b"\xff" * 50],
        "signature": [
            encode_batch(replace(good, signed=replace(good.signed, signature=bytes(64))))
        ],
        "body": [encode_batch(replace(good, body=bytes(len(good.body))))],
        "job": [encode_batch(forged(lies.signer, good, job=JobId(bytes(32))))],
        "again": [encoded, encoded],
        "other": [encode_batch(theirs)],
        "large": [bytes(4 << 20)],
    }[kind]
    liar.lines = [line_of([good, second])]
    liar.chunks = lambda caller, author, first: sent
    liar.is_obedient = False
    await lies.hint()
    await lies.honest_entries_go_on()
    assert {peer for peer, _ in lies.reasons()} == {lies.own}
    assert lies.next_of(lies.own) == ([1, 1, 1] if kind == "again" else [0, 0, 0])


async def test_entries_that_nobody_may_sign_are_blamed_on_author_and_sender(lies: Lies) -> None:
    await lies.start()
    world = lies.world
    author = world.nodes[2]
    await world.crash(2)
    (batch,) = chain_of(author.signer, SMALL, [5])
    for bad in (
        bad_values(author.signer, SMALL, batch),
        forged(author.signer, batch, batch.body[: 5 * 8], key_dims=3),
        forged(author.signer, batch, batch.body + bytes(5), payload_bytes=2),
    ):
        lies.liar.lines = [line_of([bad])]
        lies.liar.chunks = lambda caller, a, first, bad=bad: [encode_batch(bad)]
        await lies.hint()
        await asyncio.sleep(20)
    blamed = {peer for peer, _ in lies.reasons()}
    assert blamed == {lies.own, author.peer}


async def test_false_evidence_and_false_lines_cost_only_their_sender(lies: Lies) -> None:
    liar = await lies.start()
    world = lies.world
    victim = world.nodes[0]
    await world.append(0, 10)
    await world.append(0, 10)
    await world.until(world.all_equal, within_s=1.0)
    one, two = world.honest[0]._holding.set.chain(victim.peer).headers()
    liar.evidence = [ForkEvidence(one, two)]
    liar.lines = [MemoryLine(victim.peer, 0, 2, 20, bytes(32))]  # another head than it has
    liar.chunks = lambda caller, author, first: []
    await asyncio.sleep(10)
    await lies.honest_entries_go_on()
    assert (lies.own, "malformed") in lies.reasons()
    liar.evidence = []
    liar.lines = [MemoryLine(n.peer, 0, 2**40, 2**41, bytes(32)) for n in world.nodes]
    liar.lines.append(MemoryLine(lies.own, forked=True))
    del liar.lines[LIAR]
    await lies.hint()
    await lies.honest_entries_go_on()
    assert not any(s.evidence() for s in world.honest)
    assert world.all_equal()


@pytest.mark.parametrize("pause_s", [1.9, 10.0])
async def test_a_peer_that_drips_or_is_mute_delays_nobody_for_long(
    lies: Lies, pause_s: float
) -> None:
    """It says that it has each honest batch, first of all, and gives it late or never."""
    liar = await lies.start()
    liar.pause_s = pause_s
    world = lies.world
    liar.chunks = lambda caller, author, first: [b"\xff"]
    for _ in range(5):
        liar.lines = [
            replace(line, next=line.next + 3) for line in world.honest[0].lines() if line.next
        ]
        liar.lines = liar.lines or [
            MemoryLine(n.peer, 0, 3, 30, bytes(32)) for n in world.nodes[:1]
        ]
        await lies.hint()
        await lies.honest_entries_go_on()
    assert world.all_equal()


async def test_a_jump_that_a_liar_begins_and_never_ends_changes_nothing(lies: Lies) -> None:
    liar = await lies.start()
    world = lies.world
    await world.crash(2)
    for _ in range(12):
        await world.append(0, 10)
    await world.until(lambda: len(set(world.roots())) == 1, within_s=1.0)
    log = world.honest[0]._holding.log
    stored = [await log.read(world.nodes[0].peer, seq) for seq in range(12)]
    tail = [data for data in stored[8:] if data is not None]
    liar.lines = [
        replace(world.honest[0].lines()[i], start=8)
        for i in range(4)
        if world.honest[0].lines()[i].author == world.nodes[0].peer
    ]
    liar.chunks = lambda caller, author, first: tail if author == world.nodes[0].peer else []
    await world.start(2)  # the newcomer may hear the liar first
    await liar.hint(world.nodes[2].peer)
    await world.until(world.all_equal, within_s=DELAY_S)
    await lies.honest_entries_go_on()
    assert world.honest[0].status().entries == world.honest[2].status().entries


async def test_a_flood_evicts_nobody_else_and_delays_nobody(make: Make) -> None:
    rate = 400.0
    spec = MemorySpec(key_dims=60, payload_bytes=1, entries_per_author=1000)
    flood = make(spec=spec, pace=MemoryPace(entries_per_s=rate, burst_s=1.0))
    world = flood.world
    liar = await flood.start()
    chain = flood.chain(*[100] * 300)  # 30,000 entries at once
    liar.serve_chain(chain)
    for index in range(3):
        await world.append(index, 40)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await flood.hint()
    for _ in range(20):
        await flood.honest_entries_go_on(within_s=0.6)
        await asyncio.sleep(0.4)
    took_s = loop.time() - began
    for service in world.honest:
        kept = {a.author: a for a in service.status().authors}
        assert kept[flood.own].made <= rate * (took_s + 2) + 100
        assert kept[flood.own].entries <= spec.entries_per_author
        assert all(kept[n.peer].entries == n.made for n in world.nodes[:3])
    assert liar.sent_bytes < 3 * rate * (took_s + 3) * (spec.entry_bytes + 10)
    assert not world.blamed()


async def test_a_flood_of_tiny_batches_is_limited_too(make: Make) -> None:
    flood = make(pace=MemoryPace(entries_per_s=400.0, burst_s=1.0))
    liar = await flood.start()
    liar.serve_chain(flood.chain(*[1] * 2000))
    await flood.hint()
    await asyncio.sleep(10)
    assert max(flood.next_of(flood.own)) <= 400 * 12 / 33 + 20
    await flood.honest_entries_go_on(within_s=0.6)


async def test_evidence_spreads_in_a_second(make: Make) -> None:
    lies = make(pace=MemoryPace(period_s=1000.0))  # summaries alone would take for ever
    liar = await lies.start()
    one, other = lies.chain(5, value=1.0), lies.chain(5, 5, value=2.0)
    peers = [node.peer for node in lies.world.nodes]
    await asyncio.sleep(60)
    liar.chunks = lambda caller, author, seq: [encode_batch(b) for b in told[caller][seq:]]
    told = {peers[0]: one, peers[1]: one, peers[2]: one}
    liar.lines_for = {peer: [line_of(chain)] for peer, chain in told.items()}
    await lies.hint()
    await lies.world.until(lambda: lies.next_of(lies.own) == [1, 1, 1], within_s=1.0)
    told[peers[0]] = other
    liar.lines_for[peers[0]] = [line_of(other)]
    await liar.hint(peers[0])
    await lies.world.until(lambda: all(s.evidence() for s in lies.world.honest), within_s=1.0)
    assert lies.world.all_equal()


async def test_a_flood_that_fills_a_thin_line_delays_others_by_less_than_a_second(
    make: Make,
) -> None:
    """Its allowance is all that the line carries, which no operator should give."""
    spec = MemorySpec(key_dims=242, payload_bytes=1, entries_per_author=20_000)
    flood = make(spec=spec, pace=MemoryPace(entries_per_s=4000.0, burst_s=1.0))
    flood.world.network.framed = True  # whole frames in one queue: nothing overtakes
    for node in flood.world.nodes:
        section = HostSection(up_bytes_per_s=4e6, down_bytes_per_s=1e6)
        flood.world.network.set_host(node.peer, section)
    liar = await flood.start()
    liar.serve_chain(flood.chain(*[250] * 200))
    await flood.hint()
    for _ in range(6):
        await flood.honest_entries_go_on(within_s=1.0)
        await asyncio.sleep(0.3)
    assert min(flood.next_of(flood.own)) > 40  # it did flood
