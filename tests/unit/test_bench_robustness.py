"""``artel bench robustness``: training goes on under a rule, and not under the mean."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from node.exchange.rules import rule
from simulator.bench.app import app
from simulator.bench.robustness import ATTACKS, Setting, train

QUADRATIC = Setting("quadratic", 6, 2, 0.8, 40, 0.1, "none", 1, "")


def test_a_liar_ends_training_by_the_mean_and_not_by_caf() -> None:
    free = train(QUADRATIC, rule("mean"), "none", 0)
    robust = train(QUADRATIC, rule("caf"), "sign flip x 10", 0)
    lost = train(QUADRATIC, rule("mean"), "sign flip x 10", 0)
    assert robust.score < free.score + 0.05
    assert lost.score > 0 > free.score
    assert robust.kappa < 0.5 < lost.kappa


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_is_survived_through_a_codec(attack: str) -> None:
    short = replace(QUADRATIC, steps=10, codec="int8")
    cell = train(short, rule("nnm | trimmed_mean"), attack, 1)
    assert cell.score < 0.05
    assert 0 <= cell.kappa < 5


def test_softmax_regression_learns_from_files_of_fashion_mnist(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 100)):
        labels = draws.integers(0, 10, count).astype(np.uint8)
        pictures = draws.integers(0, 60, (count, 784)).astype(np.uint8)
        pictures[np.arange(count), labels] = 255  # one pixel tells the class
        for kind, head, values in (("images-idx3", 16, pictures), ("labels-idx1", 8, labels)):
            packed = gzip.compress(bytes(head) + values.tobytes())
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(packed)
    setting = Setting("fashion", 4, 1, 1.0, 60, 0.5, "none", 1, str(tmp_path))
    assert train(setting, rule("caf"), "label flip", 0).score > 80


def test_the_command_prints_json_and_names_what_is_wrong(tmp_path: Path) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["robustness", *arguments])
        return done.exit_code, done.output

    code, text = call("--steps", "10", "--rules", "caf", "--attacks", "alie", "--json")
    assert code == 0
    assert list(json.loads(text)["rules"][0]["cells"]) == ["alie"]
    assert "no attack is called" in call("--attacks", "vote")[1]
    assert "no rule is called" in call("--rules", "vote")[1]
    assert "needs 7 rows" in call("--honest", "2", "--f", "3", "--rules", "caf")[1]
    assert "no codec is called" in call("--codec", "zip")[1]
    code, text = call("--task", "fashion", "--data", str(tmp_path))
    assert code == 2
    assert "name their folder with --data" in text
