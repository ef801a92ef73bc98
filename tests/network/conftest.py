"""What several tests of real processes share: local swarms whose nodes differ."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KIT = ROOT / "tests" / "soak" / "swarm_kit.py"


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """``tests/soak/swarm_kit.py``, which the soak tests run on too."""
    spec = importlib.util.spec_from_file_location("swarm_kit", KIT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["swarm_kit"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_swarm(kit: ModuleType, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``Swarm.create(...)`` in a fresh folder; stopped at the end, whatever the test did."""
    made: list[Any] = []

    def make(count: int, *overrides: str, forks: bool = True) -> Any:
        folder = tmp_path / f"swarm-{len(made)}"
        folder.mkdir()
        job = ROOT / "examples" / "inr-astronaut.toml"
        made.append(kit.Swarm.create(folder, count, job, overrides, forks=forks))
        return made[-1]

    yield make
    for swarm in made:
        swarm.stop()


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Commands that a test starts; what still runs is killed after it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
