"""The committed golden vectors are what the code computes."""

import json
import runpy
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[1] / "vectors"
WANTED = json.loads((VECTORS / "maths.json").read_text())


@pytest.fixture(scope="module")
def built() -> dict[str, object]:
    build = runpy.run_path(str(VECTORS / "generate_maths.py"))["build"]
    # Through JSON, so that tuples and lists compare.
    parsed: dict[str, object] = json.loads(json.dumps(build()))
    return parsed


@pytest.mark.parametrize("section", WANTED)
def test_golden_vectors_hold(built: dict[str, object], section: str) -> None:
    assert built[section] == WANTED[section]


def test_no_section_is_left_out(built: dict[str, object]) -> None:
    assert built.keys() == WANTED.keys()
