"""``artel bench robustness``: training goes on under a rule, and not under the mean."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from node.exchange.rules import rule
from simulator.bench import rivals
from simulator.bench.app import app
from simulator.bench.chains import PEERS, any_rule
from simulator.bench.convnet import Convnet
from simulator.bench.lies import ATTACKS, Search, Sent
from simulator.bench.robustness import Setting, train
from simulator.bench.tasks import task

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


def test_momentum_local_steps_and_an_outer_optimizer_train_faster() -> None:
    plain = train(replace(QUADRATIC, momentum=0.0), rule("caf"), "none", 0)
    many = train(replace(QUADRATIC, momentum=0.0, local_steps=8), rule("caf"), "none", 0)
    outer = replace(QUADRATIC, momentum=0.0, outer_lr=0.7, outer_momentum=0.9)
    assert many.score < plain.score - 0.1
    assert train(outer, rule("caf"), "none", 0).score < plain.score - 0.03


@pytest.mark.parametrize("name", ["caf", "nnm | trimmed_mean", "median"])
def test_a_search_sees_the_harm_that_is_done(name: str) -> None:
    draws = np.random.default_rng(3)
    rows = draws.standard_normal((7, 200)) + 0.3
    sent = Sent(rows, rows, rule(name), 2, "none", {})
    search = Search(sent, rule(name), -sent.std)
    for z in (0.0, 0.7, 40.0):
        lies = sent.copies(sent.mean - z * sent.std)
        done = float(np.linalg.norm(sent.combine(lies) - sent.mean))
        assert search.harm(z) == pytest.approx(done, rel=1e-4, abs=1e-5)


@pytest.mark.skipif(not rivals.has("byzfl"), reason="needs byzfl")
@pytest.mark.parametrize("name", PEERS)
def test_a_chain_of_byzfl_is_what_byzfl_computes(name: str) -> None:
    rows = np.random.default_rng(1).standard_normal((13, 300)).astype(np.float32)
    rows[:4] *= 0.05  # some rows are longer than 2, some are not
    rules, before = rivals.byzfl()
    mixed = before.NNM(f=3)(before.Clipping(c=2.0)(rows.copy()))
    last = rules.TrMean(f=3) if "trimmed" in name else rules.GeometricMedian(nu=0.1, T=3)
    sent = Sent(rows[3:].astype(np.float64), np.zeros((0, 300)), PEERS[name], 3, "none", {})
    assert np.allclose(sent.combine(rows[:3].astype(np.float64)), last(mixed), atol=1e-5)
    assert any_rule(f" {name} ") is PEERS[name]


def test_the_gradient_of_the_convolutional_network_is_that_of_its_loss() -> None:
    network, draws = Convnet(2, 3, 4), np.random.default_rng(0)
    at = network.start(draws)
    pictures = draws.random((2, 3, 28, 28), np.float32)
    pictures[:, :, :, 14:] = 0.0  # ties between equal places
    labels = draws.integers(0, 10, (2, 3))

    def loss(place: np.ndarray, worker: int) -> float:
        logits = network.logits(place, pictures[worker]).astype(np.float64)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -float(logits[np.arange(3), labels[worker]].mean())

    found = network.gradients(at, pictures, labels)
    for worker, gradient in enumerate(found):
        step = 3e-4 * gradient / np.linalg.norm(gradient)
        slope = (loss(at + step, worker) - loss(at - step, worker)) / 6e-4
        assert slope == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)
    each = np.stack([at, at + np.float32(0.01)])
    apart = network.gradients(each, pictures, labels)
    assert np.allclose(apart[0], found[0], atol=1e-6)
    assert not np.allclose(apart[1], found[1], atol=1e-4)


def _digits(folder: Path) -> None:
    """Files as MNIST's, in which one pixel tells the class."""
    draws = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 100)):
        labels = draws.integers(0, 10, count).astype(np.uint8)
        pictures = draws.integers(0, 60, (count, 784)).astype(np.uint8)
        pictures[np.arange(count), labels] = 255
        for kind, head, values in (("images-idx3", 16, pictures), ("labels-idx1", 8, labels)):
            packed = gzip.compress(bytes(head) + values.tobytes())
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(packed)


def test_softmax_regression_learns_from_files(tmp_path: Path) -> None:
    _digits(tmp_path)
    setting = Setting("fashion", 4, 1, 1.0, 60, 0.5, "none", 1, str(tmp_path))
    assert train(setting, rule("caf"), "label flip", 0).score > 80
    small = task("cnn-small", 4, 1.0, 0, tmp_path)
    at = small.start()
    assert small.gradients(at, flipped=False).shape == (4, len(at))
    assert 0 <= small.score(at) < 50


def test_runs_that_were_kept_are_not_run_again(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"

    def call(*more: str) -> str:
        shared = ["robustness", "--steps", "10", "--rules", "caf", "--out", str(out)]
        return CliRunner().invoke(app, [*shared, *more]).output

    first = call("--attacks", "alie")
    kept = out.read_text()
    assert call("--attacks", "alie") == first
    assert out.read_text() == kept
    out.write_text(json.dumps(json.loads(kept) | {"score": 7.0}) + "\n")  # is believed
    assert call("--attacks", "alie") != first
    out.write_text(kept + kept[:20])  # cut off by a crash
    assert call("--attacks", "alie") == first
    out.write_text("{}\n" + kept)
    assert "line 1 of" in call("--attacks", "alie")


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
