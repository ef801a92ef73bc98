"""Which event loop a test runs on: virtual in simulation, uvloop on a real network."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from simulator.loop import VirtualTimeLoop

HERE = Path(__file__).parent
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """Loops by folder. A contract test over ``swarm`` gets both; its conftest drops mismatches."""
    folder = Path(item.path).relative_to(HERE).parts[0]
    if folder == "simulation":
        return {"virtual": VirtualTimeLoop}
    if folder == "contract" and "swarm" in getattr(item, "fixturenames", ()):
        return {"virtual": VirtualTimeLoop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
