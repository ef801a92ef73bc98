"""The worlds on which the contract of Transport and Discovery is checked: one swarm in each.

``swarm`` has three nodes that know one another. A test that stops nodes starts its own.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from node.types import PeerId
from simulator.loop import VirtualTimeLoop
from simulator.wire.links import LinkModel
from simulator.wire.network import SimNetwork

LOOP_OF_WORLD = {"sim": "virtual", "sim_whole": "virtual", "hivemind": "uvloop"}
HIVEMIND = pytest.param(
    "hivemind",
    marks=[
        pytest.mark.network,
        # hivemind itself, and the part of torch that it imports, use what is deprecated
        pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning"),
        pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    ],
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drop the pairs of a world and a loop that do not belong together."""
    items[:] = [item for item in items if _fits(item)]


def _fits(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "swarm" not in params:
        return True
    factory = params["_asyncio_loop_factory"]
    return (factory is VirtualTimeLoop) == (LOOP_OF_WORLD[params["swarm"]] == "virtual")


class SimSwarm:
    def __init__(self, framed: bool) -> None:
        # 100 MB/s, so that a large message takes time and a small one can pass it
        link = LinkModel(latency_s=0.005, jitter_s=0.001, bytes_per_s=1e8)
        self.network = SimNetwork(5, link, framed=framed)
        self.nodes: list[Any] = []

    async def start(self, number: int) -> Any:
        return self.network.start(PeerId(f"12D3KooWSim{number}"))

    async def kill(self, node: Any) -> None:
        await self.network.crash(node.transport.peer_id)

    def unix_s(self) -> float:
        return self.network.unix_s()

    async def close(self) -> None:
        await self.network.close()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        assert loop.failures == []


class HivemindSwarm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Any] = []
        self.running: list[Any] = []

    async def start(self, number: int) -> Any:
        from node.adapters.hivemind_host import HivemindHost

        host = await HivemindHost.create(bytes([number + 1]) * 32, data_folder=self.folder)
        self.running.append(host)
        return host

    async def kill(self, node: Any) -> None:
        self.running.remove(node)
        os.kill(node.p2pd_pid, signal.SIGKILL)
        await node.close()

    def unix_s(self) -> float:
        return time.time()

    async def close(self) -> None:
        await asyncio.gather(*(host.close() for host in self.running))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sim", "sim_whole", HIVEMIND])
async def swarm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    made: Any = (
        HivemindSwarm(tmp_path_factory.mktemp("hivemind"))
        if request.param == "hivemind"
        else SimSwarm(framed=request.param == "sim")
    )
    made.nodes = [await made.start(number) for number in range(3)]
    for node in made.nodes:
        for other in made.nodes:
            if other is not node:
                node.transport.learn(other.transport.peer_id, other.transport.addresses)
    first = made.nodes[0].transport
    for node in made.nodes[1:]:
        assert await node.discovery.meet(first.peer_id, first.addresses)
    yield made
    await made.close()
