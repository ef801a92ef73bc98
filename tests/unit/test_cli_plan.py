"""What the command line decides before anything starts."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.node_config import read_node_config
from node.cli.shared import format_bytes, parse_overrides, to_plain
from node.cli.swarm.folder import MARKER, SwarmFolder
from node.cli.swarm.plan import Plan, make_plan, to_toml
from node.errors import ConfigError

JOB = '[job]\nname = "camera"\nworkload = "inr"\nrounds = 9\n[workload]\nimage = "camera"\n'


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    return path


def plan_of(job: Path, **changes: Any) -> Plan:
    given: dict[str, Any] = {
        "nodes": 4,
        "byzantine": 0,
        "attack": "sign_flip",
        "shortcuts": {},
        "set_": None,
        "folder": None,
    }
    return make_plan(job, **(given | changes))


def test_a_flag_of_up_wins_over_set_and_set_over_the_file(job: Path) -> None:
    plan = plan_of(
        job, shortcuts={"job.rounds": 3, "job.seed": None}, set_=["job.rounds=5", "round.steps=7"]
    )
    assert (plan.manifest.job.rounds, plan.manifest.round.steps) == (3, 7)
    assert plan.folder == (Path("out") / "camera").absolute()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"byzantine": 4}, "no honest node"),
        ({"byzantine": 1, "attack": "frobnicate:2"}, "there is: .*sign_flip"),
        ({"set_": ["job.rounds"]}, "section.key=value"),
        ({"set_": ["job.frob=1"]}, "job.frob"),
        ({"shortcuts": {"job.rounds": -1}}, "job.rounds"),
        ({"set_": ['electorate.founders=["x"]']}, "founders"),
    ],
)
def test_a_swarm_that_cannot_work_is_refused_with_the_reason(
    job: Path, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        plan_of(job, **changes)


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
)
VALUES = st.recursive(
    PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v), max_leaves=8
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_tables_written_as_toml_read_back_the_same(tables: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(tables)) == tables


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(ConfigError, match="not a run"):
        SwarmFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_live_swarms_folder_is_refused_and_an_old_ones_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = SwarmFolder(folder)
    (folder / "node-00").mkdir()
    (folder / "node-00" / "key.pem").write_text("old")
    (folder / "job.toml").write_text("old")
    (folder / "notes.txt").write_text("the operator's own")
    with pytest.raises(ConfigError, match="a swarm runs in"):
        SwarmFolder(folder)
    assert (folder / "node-00" / "key.pem").exists()
    first.close()
    SwarmFolder(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "notes.txt"]


def test_settings_come_from_flags_then_set_then_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('threads = 2\nlog_level = "debug"\nswarm = "a"\ndata = "from-file"\n')
    config = read_node_config(
        file, None, {"threads": 4, "join": [], "device": None}, ["swarm=b", "threads=3"]
    )
    assert (config.threads, config.swarm, config.log_level) == (4, "b", "debug")
    assert config.data == Path("from-file")
    assert read_node_config(file, tmp_path, {}, None).data == tmp_path


def test_without_a_word_the_data_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert read_node_config(None, None, {}, None).data == Path("/home/someone/.artel")


def test_an_override_keeps_what_follows_the_first_equals_sign() -> None:
    assert parse_overrides(["a.b=c=d", "e="]) == {"a.b": "c=d", "e": ""}


def test_numbers_that_json_cannot_hold_become_null() -> None:
    assert to_plain({"loss": float("nan"), "x": (1.5, float("inf"))}) == {
        "loss": None,
        "x": [1.5, None],
    }


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e13, "25.0 TB")]
)
def test_bytes_are_shown_in_powers_of_1000(count: float, text: str) -> None:
    assert format_bytes(count) == text
