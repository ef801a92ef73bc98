"""What each kind of fault does to a world, and how it is undone. Faults that overlap add up."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from math import prod

from node.types import PeerId
from simulator.scenario import FaultSection
from simulator.seeds import rng
from simulator.wire.links import LinkModel
from simulator.world import World

Nodes = Sequence[int]
Way = tuple[list[PeerId], list[PeerId]]
Act = Callable[[FaultSection, Nodes, Nodes], Awaitable[None]]


class Disturbance:
    """Everything that is wrong with a world at the moment.

    Args:
        world: not started yet.
        absent: nodes that are not there from the start.
    """

    def __init__(self, world: World, absent: Nodes) -> None:
        self._world = world
        self._holds = Counter(absent)
        self._ordinary: dict[int, float] = {}
        self._slow: dict[int, list[float]] = {}
        self._churned: Counter[int] = Counter()
        nothing = self._nothing
        self._acts: dict[str, tuple[Act, Act]] = {
            "crash": (self._crash, self._restart),
            "lose_slots": (self._lose, self._restart),
            "lose_disk": (self._lose, self._restart),
            "leave": (self._leave, self._restart),
            "late": (nothing, self._restart),
            "churn": (nothing, nothing),
            "partition": (self._cut, self._uncut),
            "cut": (self._cut, self._uncut),
            "link": (self._link, self._unlink),
            "reset": (self._reset, nothing),
            "slow": (self._slow_down, self._speed_up),
            "clock": (self._jump, self._jump_back),
            "disk_full": (self._fill, self._unfill),
            "dht": (self._dht, self._undht),
        }

    async def begin(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        """Let it happen."""
        await self._acts[fault.kind][0](fault, nodes, others)

    async def end(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        """Undo it, as far as it can be undone."""
        await self._acts[fault.kind][1](fault, nodes, others)

    async def _nothing(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        """Begins or ends by itself."""

    # Lives -------------------------------------------------------------------------------------

    def hold(self, node: int) -> None:
        """Keep a node down until ``release``; holds add up."""
        self._holds[node] += 1

    async def release(self, node: int) -> None:
        """Start a node again, once nothing else keeps it down."""
        self._holds[node] -= 1
        state = self._world.nodes[node]
        if self._holds[node] or state.daemon is not None:
            return
        if state.task is not None:
            await asyncio.wait([state.task])  # a node that dies inside a step takes its time
        await self._world.start(node)

    async def take_down(self, node: int) -> None:
        """Crash a node and keep it down."""
        self.hold(node)
        await self._world.crash(node)

    async def _crash(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            await self.take_down(node)

    async def _restart(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            await self.release(node)

    async def _lose(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            await self.take_down(node)
            store = self._world.nodes[node].store
            if fault.kind == "lose_slots":
                store.lose_slots()
            else:
                store.wipe()

    async def _leave(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            state = self._world.nodes[node]
            if state.daemon is not None and state.task is not None:
                state.daemon.request_stop()
                await asyncio.wait([state.task])
            await self.take_down(node)

    async def churn(self, fault: FaultSection, node: int, end_s: float) -> None:
        """One node comes and goes until ``end_s``, as two exponential clocks say."""
        world = self._world
        draws = rng(world.seed, "churn", node)
        is_elector = node < world.scenario.nodes
        at_most = fault.at_most or max(1, world.scenario.f)
        while True:
            stay_s, away_s = draws.exponential(fault.every_s), draws.exponential(fault.down_s)
            if world.now() + stay_s >= end_s:
                return
            await asyncio.sleep(stay_s)
            if is_elector and sum(self._churned.values()) >= at_most:
                continue
            self._churned[node] += is_elector
            await self.take_down(node)
            await asyncio.sleep(max(0.0, min(away_s, end_s - world.now())))
            await self.release(node)
            self._churned[node] -= is_elector

    # The network -------------------------------------------------------------------------------

    def _ways(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> list[Way]:
        """(sources, targets) that a fault means."""
        peer = [n.peer for n in self._world.nodes]
        if fault.kind == "partition":
            others = [i for i in range(len(peer)) if i not in nodes]
        there, back = [peer[i] for i in nodes], [peer[i] for i in others]
        both = fault.both or fault.kind == "partition"
        return [(there, back), (back, there)] if both else [(there, back)]

    async def _cut(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for sources, targets in self._ways(fault, nodes, others):
            self._world.network.cut(sources, targets)

    async def _uncut(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for sources, targets in self._ways(fault, nodes, others):
            self._world.network.uncut(sources, targets)

    async def _link(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        assert fault.link is not None
        model = LinkModel.of(fault.link)
        for sources, targets in self._ways(fault, nodes, others):
            for source in sources:
                for target in targets:
                    self._world.network.set_link(source, target, model)

    async def _unlink(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for sources, targets in self._ways(fault, nodes, others):
            for source in sources:
                for target in targets:
                    self._world.network.clear_link(source, target)

    async def _reset(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        network, peer = self._world.network, [n.peer for n in self._world.nodes]
        for a in nodes:
            for b in others:
                if a != b:
                    network.reset(peer[a], peer[b])

    async def _dht(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        peers = [self._world.nodes[i].peer for i in nodes]
        self._world.network.dht.set(fault.dht, peers, fault.rate)

    async def _undht(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        self._world.network.dht.clear(fault.dht)

    # Hosts -------------------------------------------------------------------------------------

    async def _slow_down(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            self._slow.setdefault(node, []).append(fault.factor)
            self._set_slowness(node)

    async def _speed_up(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            self._slow[node].remove(fault.factor)
            self._set_slowness(node)

    def _set_slowness(self, node: int) -> None:
        compute = self._world.nodes[node].compute
        ordinary = self._ordinary.setdefault(node, compute.slowness)
        compute.slowness = ordinary * prod(self._slow[node])

    async def _jump(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            self._world.nodes[node].clock.jump(fault.jump_s)

    async def _jump_back(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes if fault.for_s else ():
            self._world.nodes[node].clock.jump(-fault.jump_s)

    async def _fill(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        for node in nodes:
            self._world.nodes[node].store.fill()

    async def _unfill(self, fault: FaultSection, nodes: Nodes, others: Nodes) -> None:
        """There is space again; where the job failed for want of it, the operator restarts."""
        for node in nodes:
            state = self._world.nodes[node]
            state.store.unfill()
            daemon = state.daemon
            if daemon and any(job.state == "failed" for job in daemon.list_jobs()):
                await self.take_down(node)
                await self.release(node)
