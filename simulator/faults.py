"""Plays a scenario's faults into a world: each begins at its time or step, and ends by itself."""

import asyncio

from simulator.scenario import FaultSection
from simulator.world import World


class FaultPlayer:
    """All faults of a world.

    Args:
        world: not started yet.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.last_end_s = 0.0
        """When the last fault ended, so far."""
        self.active = 0
        """Faults that run now or still wait for their step."""

    @property
    def late(self) -> set[int]:
        """Nodes that a fault starts later: the run does not start them."""
        return {
            n
            for f in self._world.scenario.faults
            if f.kind == "late"
            for n in self._world.who(f.nodes)
        }

    async def run(self) -> None:
        """Until every fault has ended; then all is healed."""
        async with asyncio.TaskGroup() as group:
            for fault in self._world.scenario.faults:
                group.create_task(self._play(fault))

    async def _play(self, fault: FaultSection) -> None:
        if fault.kind == "late":
            await asyncio.sleep(fault.at_s or 0.0)
            for node in self._world.who(fault.nodes):
                await self._world.start(node)
            return
        raise NotImplementedError(fault.kind)
