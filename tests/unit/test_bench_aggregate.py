"""``artel bench aggregate``: cases are computed, compared and printed, with or without rivals."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from simulator.bench import aggregate, rivals
from simulator.bench.app import app
from simulator.bench.cases import CASES, artel_call
from simulator.bench.worker import rows_of

ROWS = rows_of(16, 3, 500)
RADIUS = 0.3 * np.sqrt(500)


@pytest.mark.parametrize("name", CASES)
def test_a_case_resists_three_liars_or_is_the_mean(name: str) -> None:
    honest = ROWS[3:].mean(axis=0, dtype=np.float64)
    spread = np.sqrt(((ROWS[3:] - honest) ** 2).sum(axis=1).mean())
    found = artel_call(name, 3, RADIUS)(ROWS)
    away = np.linalg.norm(found - honest) / spread
    assert away < (4 if name == "centered_clip L=1" else 1.2)
    assert found.dtype == np.float32


@pytest.mark.skipif(not rivals.has("byzfl"), reason="needs byzfl")
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("caf", "smea")])
def test_a_case_is_what_byzfl_computes(name: str) -> None:
    theirs = np.asarray(rivals.byzfl_call(name, 3, RADIUS)(ROWS.copy()))
    ours = artel_call(name, 3, RADIUS)(ROWS)
    # A tie between two values as near to the median may go either way.
    assert np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs)


def test_the_command_measures_in_processes_of_their_own() -> None:
    arguments = ["aggregate", "--n", "7", "--d", "3000", "--repeats", "1", "--alone", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--rules", " nnm | trimmed_mean"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [row["rule"] for row in report["rules"]] == ["nnm | trimmed_mean"]
    for row in report["rules"]:
        assert row["libraries"]["artel"]["cpu_s"] > 0
        assert row["libraries"]["artel"]["peak_share"] >= 1


def test_the_command_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["aggregate", *arguments])
        assert done.exit_code == 2
        return done.output

    assert "choose from mean, median" in output("--rules", "vote", "--alone")
    assert "must be at least 2f + 1" in output("--n", "6", "--f", "3", "--alone")
    monkeypatch.setattr(aggregate.rivals, "has", lambda name: False)
    assert "pip install 'artel-node[bench]'" in output()
