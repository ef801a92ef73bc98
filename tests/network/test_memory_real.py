"""Two memories over libp2p, SQLite and files: what the simulated ones do, real ones do too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.adapters.file_store import open_store
from node.errors import PeerError
from node.identity import Identity, verify
from node.memory.batch import Entries
from node.memory.config import MemorySpec
from node.memory.methods import MemoryMethods
from node.memory.service import MemoryDeps, MemoryService
from node.merkle import digest
from node.types import JobId, PeerId
from node.wire.memory_messages import KeyType

pytestmark = [
    pytest.mark.network,
    # hivemind itself, and the part of torch that it imports, use what is deprecated
    pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

JOB = JobId(digest("memory job", b"real"))
SIGNERS = [Identity(bytes([n + 1]) * 32) for n in range(2)]
AUTHORS = [signer.peer_id for signer in SIGNERS]
SPEC = MemorySpec(key_dims=1280, key_type=KeyType.FP16, payload_bytes=200, entries_per_author=4000)
BLAMED: list[tuple[PeerId, PeerError]] = []


class ThreadCompute:
    """The maths lane of the real Compute port, without workers."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def maths(self, work: Callable[[], Any], *, cost_s: float) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@asynccontextmanager
async def memory(number: int, folder: Path, meet: Any = None) -> AsyncIterator[Any]:
    """(service, host) of one node that runs."""
    from node.adapters.hivemind_host import HivemindHost

    signer = SIGNERS[number]
    host = await HivemindHost.create(signer.seed, data_folder=folder)
    store = open_store(folder, signer.peer_id)
    deps = MemoryDeps(
        transport=host.transport,
        store=store,
        compute=ThreadCompute(),  # type: ignore[arg-type]
        signer=signer,
        verify=verify,
        peers=lambda: AUTHORS,
        rng=np.random.default_rng(number),
        on_blame=lambda peer, error: BLAMED.append((peer, error)),
        may_append=not store.slots_lost,
    )
    service = MemoryService(JOB, AUTHORS, SPEC, deps)
    methods = MemoryMethods(deps.on_blame)
    methods.add(service)
    methods.serve(host.transport)
    if meet is not None:
        host.transport.learn(meet.transport.peer_id, meet.transport.addresses)
        meet.transport.learn(host.transport.peer_id, host.transport.addresses)
    run = asyncio.get_running_loop().create_task(service.run())
    await service.loaded.wait()
    try:
        yield service, host
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await host.close()
        store.close()


def entries(count: int, seed: int) -> Entries:
    rng = np.random.default_rng(seed)
    return Entries(
        rng.standard_normal((count, SPEC.key_dims)).astype(np.float16),
        rng.standard_normal(count, dtype=np.float32),
        rng.integers(0, 256, (count, SPEC.payload_bytes), dtype=np.uint8),
    )


async def until(claim: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not claim():
            await asyncio.sleep(0.01)


async def test_real_nodes_share_restart_and_agree(tmp_path: Path) -> None:
    BLAMED.clear()
    for name in "ab":
        (tmp_path / name).mkdir()
    made = entries(2500, 1)  # 6.9 MB: a segment, and a tail
    async with memory(0, tmp_path / "a") as (a, host), AsyncExitStack() as stack:
        await a.append(made)
        b, _ = await stack.enter_async_context(memory(1, tmp_path / "b", host))
        taken: list[Any] = []
        async with aclosing(b.subscribe()) as changes:
            async with asyncio.timeout(15):
                async for change in changes:
                    taken.append(change.entries)
                    if sum(map(len, taken)) == 2500:
                        break
        for name in ("keys", "values", "payload"):
            parts = np.concatenate([getattr(part, name) for part in taken])
            assert np.array_equal(parts, getattr(made, name))
        assert a.root() == b.root()
        await b.append(entries(10, 2))
        await until(lambda: bool(a.root() == b.root()))
        await stack.aclose()
        await a.append(entries(2500, 3))  # evicts; the other is away
        again, _ = await stack.enter_async_context(memory(1, tmp_path / "b", host))
        await until(lambda: bool(a.root() == again.root()))
        assert again.status().entries == a.status().entries
        assert sum(author.made for author in again.status().authors) == 5010
    assert not BLAMED
