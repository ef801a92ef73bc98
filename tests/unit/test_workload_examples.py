"""The example jobs' workload tables are accepted, and give the sizes that their comments state."""

import tomllib
from pathlib import Path

import pytest

from workloads.api import load

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("inr-*.toml"))


def test_there_are_examples():
    assert [path.stem for path in EXAMPLES] == ["inr-astronaut", "inr-sinc"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_builds_its_workload(path):
    text = path.read_text()
    tables = tomllib.loads(text)
    assert set(tables) == {"job", "workload", "round", "exchange", "outer"}
    assert tables["job"]["name"] == path.stem
    workload = load(tables["job"]["workload"])(tables["workload"], tables["job"]["seed"])
    assert f"({len(workload.initial()):,} parameters)" in text
