"""Plays a scenario's faults into a world: each begins at its time or step, and ends by itself.

Every beginning and end is told to the hub in words: ``crash of node-2 begins``, ``... ends``, and
``healed`` when the last one is over. From then on nothing is wrong but the liars, and every honest
node runs.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from node.exchange.reduction import reducer_orders
from node.jobs.runner import JobRunner
from simulator.disturb import Disturbance
from simulator.scenario import FaultSection, Who
from simulator.world import SimNode, World

LOOK_S = 0.1
"""Virtual pause between two looks at whether the job is over."""


def is_done(node: SimNode) -> bool:
    """Does the node run, and has it finished the job?"""
    jobs = node.daemon.list_jobs() if node.daemon else ()
    return bool(jobs) and jobs[0].state == "done"


@dataclass
class _Play:
    """One fault on its way."""

    fault: FaultSection
    due: asyncio.Event = field(default_factory=asyncio.Event)
    """It is time, or the job is over."""
    what: str = ""
    """In words, once it has begun."""
    nodes: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    dying: dict[int, asyncio.Event] = field(default_factory=dict)
    """Nodes that are to die inside a step -> it died there, or the job is over."""
    died: list[int] = field(default_factory=list)


class FaultPlayer:
    """All faults of a world.

    Args:
        world: not started yet.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._plays = [_Play(f) for f in world.scenario.faults]
        self._damage = Disturbance(world, sorted(self.late))
        self._index = {node.peer: node.index for node in world.nodes}
        self._liars = world.liars
        self._over = asyncio.Event()
        """Every honest node that runs has finished the job."""
        self.last_end_s = 0.0
        """When the last fault ended, so far."""
        self.active = 0
        """Faults that run now or still wait for their step."""

    @property
    def late(self) -> set[int]:
        """Nodes that a fault starts later: the run does not start them."""
        world = self._world
        return {n for f in world.scenario.faults if f.kind == "late" for n in world.who(f.nodes)}

    @property
    def missed(self) -> list[str]:
        """Faults that did not come: the job was over first, or nobody stood in their step."""
        idle = (p for p in self._plays if not p.what or (p.dying and not p.died))
        return [f"a fault that never came: {_asked(p.fault)}" for p in idle]

    async def run(self) -> None:
        """Until every fault has ended; then all is healed."""
        if not self._plays:
            return
        world = self._world
        world.failpoints.append(self._reached)
        self.active = len(self._plays)
        async with asyncio.TaskGroup() as outer:
            watch = outer.create_task(self._watch(), name="faults-watch")
            async with asyncio.TaskGroup() as group:
                for play in self._plays:
                    group.create_task(self._play(play), name=f"fault-{play.fault.kind}")
            watch.cancel()
        world.failpoints.remove(self._reached)
        world.network.heal()
        self.last_end_s = world.now()
        world.hub.fault(world.now(), "healed")

    async def _watch(self) -> None:
        """Tell the faults that still wait, or have no end of their own, that the job is over."""
        while True:
            running = [n for n in self._world.honest if n.daemon is not None]
            if running and all(map(is_done, running)):
                break
            await asyncio.sleep(LOOK_S)
        self._over.set()
        for play in self._plays:
            for event in (play.due, *play.dying.values()):
                event.set()

    # One fault ---------------------------------------------------------------------------------

    async def _play(self, play: _Play) -> None:
        fault = play.fault
        if fault.round is None:
            asyncio.get_running_loop().call_later(fault.at_s or 0.0, play.due.set)
        await play.due.wait()
        if play.what or fault.kind == "late" or not self._over.is_set():
            self._begin(play, None)
            await self._last(play)
            self.last_end_s = self._world.now()
            self._world.hub.fault(self._world.now(), f"{play.what} ends")
        self.active -= 1

    def _begin(self, play: _Play, reached_by: int | None) -> None:
        """Settle whom the fault hits, and tell it; once."""
        if play.what:
            return
        fault = play.fault
        play.nodes = self._who(fault.nodes, reached_by)
        play.others = self._who(fault.others, reached_by)
        if fault.kind == "crash" and fault.phase and not fault.at_once:
            play.dying = {node: asyncio.Event() for node in play.nodes}
        play.what = _words(play)
        self._world.hub.fault(self._world.now(), f"{play.what} begins")

    async def _last(self, play: _Play) -> None:
        """From the beginning of a fault to its end."""
        fault, damage = play.fault, self._damage
        if play.dying:
            async with asyncio.TaskGroup() as group:
                for node in play.nodes:
                    group.create_task(self._die(play, node))
            return
        if fault.kind == "churn":
            end_s = self._world.now() + (fault.for_s or self._world.scenario.heal_s)
            async with asyncio.TaskGroup() as group:
                for node in play.nodes:
                    group.create_task(damage.churn(fault, node, end_s))
            return
        await damage.begin(fault, play.nodes, play.others)
        if fault.kind == "reset" and fault.every_s:
            end_s = self._world.now() + (fault.for_s or self._world.scenario.heal_s)
            while self._world.now() + fault.every_s < end_s:
                await asyncio.sleep(fault.every_s)
                await damage.begin(fault, play.nodes, play.others)
        elif fault.for_s or fault.kind not in ("late", "clock", "reset"):
            await self._rest(fault)
        await damage.end(fault, play.nodes, play.others)

    async def _rest(self, fault: FaultSection) -> None:
        """As long as the fault lasts; without ``for_s`` until the others are done."""
        if fault.for_s:
            await asyncio.sleep(fault.for_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._world.scenario.heal_s):
                await self._over.wait()

    async def _die(self, play: _Play, node: int) -> None:
        """Wait until a node died inside its step, and start it again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._world.scenario.heal_s):
                await play.dying[node].wait()
        if node in play.died:
            await self._rest(play.fault)
            await self._damage.release(node)
        else:
            play.dying[node].set()  # it never came to that step

    def _reached(self, node: int, phase: str, round_: int) -> None:
        """A failpoint: a node stands in a step, and may die there."""
        for play in self._plays:
            fault = play.fault
            if fault.round is None or round_ < fault.round or fault.phase not in ("", phase):
                continue
            if fault.at_once and self._who("leader", node) == [node]:
                continue
            if not play.due.is_set() and node not in self._liars:
                self._begin(play, node)
                play.due.set()
            if node in play.dying and not play.dying[node].is_set():
                play.died.append(node)
                play.dying[node].set()
                self._damage.hold(node)
                self._world.kill(node)

    # Roles -------------------------------------------------------------------------------------

    def _who(self, who: Who, reached_by: int | None) -> list[int]:
        if who not in ("leader", "reducers"):
            return self._world.who(who)
        runner = self._runner(reached_by)
        if runner is None:
            return []
        electorate = runner.head.electorate
        if who == "leader":
            core = runner.flow.machine.core if runner.flow else None
            chosen = [core.leader if core else electorate.leader(runner.round_now, 0)]
        else:
            order = reducer_orders(runner.head.id, electorate, 1)[0]
            chosen = list(order[: max(1, electorate.f)])
        return sorted(self._index[electorate.ids[e]] for e in chosen)

    def _runner(self, node: int | None) -> JobRunner | None:
        """The job at a node, or at the honest one that is furthest."""
        among = self._world.honest if node is None else [self._world.nodes[node]]
        runners = [r for n in among if n.daemon is not None for r in n.daemon.runners]
        return max(runners, key=lambda r: r.round_now, default=None)


_WORDS = {
    "crash": "crash of {nodes}",
    "partition": "partition of {nodes}",
    "cut": "cut from {nodes} to {others}",
    "link": "other link from {nodes} to {others}",
    "slow": "slowness of {nodes}",
    "clock": "clock jump of {nodes}",
    "disk_full": "full disk of {nodes}",
    "lose_slots": "loss of the slot log of {nodes}",
    "lose_disk": "loss of the disk of {nodes}",
    "reset": "stream resets from {nodes} to {others}",
    "dht": "dht answers ({dht}) of {nodes}",
    "churn": "churn of {nodes}",
    "late": "late start of {nodes}",
    "leave": "leave of {nodes}",
}


def _words(play: _Play) -> str:
    fault = play.fault

    def names(nodes: list[int]) -> str:
        return ", ".join(f"node-{n}" for n in nodes) or "nobody"

    text = _WORDS[fault.kind].format(
        nodes=names(play.nodes), others=names(play.others), dht=fault.dht
    )
    if play.dying or fault.at_once:
        text += f" {'at' if fault.at_once else 'in'} {fault.phase} of round {fault.round}"
    return text


def _asked(fault: FaultSection) -> str:
    """A fault as its scenario asks for it."""
    who = fault.nodes if isinstance(fault.nodes, str) else f"nodes {list(fault.nodes)}"
    if fault.round is None:
        return f"{fault.kind} of {who} at {fault.at_s or 0.0:g} s"
    step = f"{fault.phase} of " if fault.phase else ""
    return f"{fault.kind} of {who} in {step}round {fault.round}"
