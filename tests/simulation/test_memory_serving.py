"""What a memory answers to whoever asks, and how much of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from node.errors import ConfigError, Refused
from node.memory.config import MemoryPace
from node.memory.methods import MemoryMethods
from node.memory.peers import METHOD as MEMORY_METHOD
from node.memory.pulling import METHOD as BATCHES_METHOD
from node.memory.serving import CALLS_BURST, CALLS_PER_S, OPEN_MAX
from node.types import JobId, PeerId
from node.wire.convert_memory import (
    decode_batch,
    decode_memory_reply,
    encode_batches_request,
    encode_memory_request,
)
from node.wire.memory_messages import BatchesRequest, BatchWant, MemoryReply, MemoryRequest
from simulator.memory_world import JOB, MemoryWorld


class Asker:
    """One memory, and a stranger that calls it."""

    def __init__(self, pace: MemoryPace | None = None) -> None:
        self.world = MemoryWorld(3, 1, pace=pace)
        self.author = self.world.nodes[0].peer

    async def start(self) -> None:
        await self.world.start(0)
        self.transport = self.world.lie(2).transport

    async def ask(self, *, job: JobId = JOB, hint: bool = False) -> MemoryReply:
        request = encode_memory_request(MemoryRequest(job, (), hint))
        return decode_memory_reply(
            await self.transport.call(
                self.author, MEMORY_METHOD, request, timeout_s=5, reply_bytes_max=1 << 20
            )
        )

    def stream(self, *wants: tuple[PeerId, int, int]) -> AsyncIterator[bytes]:
        request = BatchesRequest(JOB, tuple(BatchWant(*want) for want in wants))
        return self.transport.stream(
            self.author,
            BATCHES_METHOD,
            encode_batches_request(request),
            idle_timeout_s=5,
            chunk_bytes_max=1 << 21,
        )

    async def seqs(self, first: int, bytes_max: int) -> list[int]:
        stream = self.stream((self.author, first, bytes_max))
        return [decode_batch(data).header.seq async for data in stream]


@pytest_asyncio.fixture
async def asker() -> AsyncIterator[Asker]:
    made = Asker()
    await made.start()
    yield made
    await made.world.close()


async def test_a_summary_says_what_is_held_and_a_hint_gets_nothing(asker: Asker) -> None:
    await asker.world.append(0, 7)
    reply = await asker.ask()
    assert [line.entries for line in reply.lines if line.next] == [7]
    assert await asker.ask(hint=True) == MemoryReply()


async def test_another_job_is_refused_and_nobody_is_blamed(asker: Asker) -> None:
    with pytest.raises(Refused):
        await asker.ask(job=JobId(bytes(32)))
    assert not asker.world.nodes[0].blamed


async def test_who_asks_too_often_is_refused_for_a_while(asker: Asker) -> None:
    refused = 0
    for _ in range(int(CALLS_BURST) // 20 + 2):
        calls = [asker.ask(hint=True) for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused += sum(isinstance(answer, Refused) for answer in answers)
    assert 0 < refused <= 40
    await asyncio.sleep(2 / CALLS_PER_S)
    await asker.ask()


async def test_a_stream_begins_where_asked_and_ends_at_its_limit(asker: Asker) -> None:
    for _ in range(6):
        await asker.world.append(0, 10)
    stream = asker.stream((asker.author, 0, 1 << 20))
    size = len([data async for data in stream][1])
    assert await asker.seqs(0, 1 << 20) == [0, 1, 2, 3, 4, 5]
    assert await asker.seqs(4, 1 << 20) == [4, 5]
    assert await asker.seqs(1, 2 * size + 20) == [1, 2]
    assert await asker.seqs(1, 1) == [1]
    assert await asker.seqs(6, 1 << 20) == []
    for _ in range(60):
        await asker.world.append(0, 60)  # only the newest ten fit
    assert (await asker.seqs(0, 1 << 20))[0] > 50
    stranger = asker.world.nodes[2].peer
    mixed = [decode_batch(d) async for d in asker.stream((asker.author, 65, 99), (stranger, 0, 99))]
    assert [batch.header.seq for batch in mixed] == [65]


async def test_a_peer_has_two_streams_open_at_most(asker: Asker) -> None:
    for _ in range(3):
        await asker.world.append(0, 10)
    open_ = [asker.stream((asker.author, 0, 1 << 20)) for _ in range(OPEN_MAX + 1)]
    serving = asker.world.honest[0].serving
    held = [
        serving.batches(asker.author, BatchesRequest(JOB, (BatchWant(asker.author, 0, 1 << 20),)))
        for _ in range(OPEN_MAX)
    ]
    for stream in held:
        await anext(stream)
    with pytest.raises(Refused, match="busy"):
        await anext(serving.batches(asker.author, BatchesRequest(JOB, ())))
    for stream in held:
        await stream.aclose()  # type: ignore[attr-defined]
    assert [decode_batch(d).header.seq async for d in open_[0]] == [0, 1, 2]


async def test_what_one_peer_is_sent_is_limited_in_the_long_run() -> None:
    asker = Asker(MemoryPace(served_bytes_per_s=2000.0))
    await asker.start()
    for _ in range(6):
        await asker.world.append(0, 60)

    async def ask_on() -> None:
        for _ in range(50):
            assert await asker.seqs(0, 1 << 20)

    with pytest.raises(Refused):
        await ask_on()
    await asyncio.sleep(5)
    assert await asker.seqs(0, 1 << 20)
    await asker.world.close()


async def test_one_job_has_one_memory(asker: Asker) -> None:
    methods = MemoryMethods(lambda peer, error: None)
    (service,) = asker.world.honest
    methods.add(service)
    with pytest.raises(ConfigError):
        methods.add(service)
    methods.remove(JOB)
    methods.remove(JOB)
    methods.add(service)
