"""A simulated test fails if a task failed where nobody awaited it."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from simulator.loop import VirtualTimeLoop


@pytest_asyncio.fixture(autouse=True)
async def no_lost_failures() -> AsyncIterator[None]:
    yield
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualTimeLoop):  # a plain function makes its own
        assert loop.failures == []
