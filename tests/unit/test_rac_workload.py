"""RAC as a job: what leaves it, what comes in, and what a liar cannot do to it."""

import math
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="the extra artel-node[rac] is not installed")

from tests.unit import rac_data
from workloads.api import Entries, Remembers, Sharded, WorkloadError, load
from workloads.rac import network
from workloads.rac.catalogue import index_settings
from workloads.rac.config import RacConfig
from workloads.rac.workload import RacWorkload
from workloads.recall import coded_vectors
from workloads.recall.memory import AUTHORS_MAX


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path) -> Path:
    return rac_data.write(tmp_path / "data.npz")


def told(workload: RacWorkload) -> Iterator[Entries]:
    """All entries, in the slices in which they leave."""
    while True:
        done = workload.advance(1000, 1e9, lambda: 0.0)
        if len(done.entries):
            yield done.entries
        if done.waiting:
            return


def node(data: Path, part: int = 0, count: int = 1, **settings) -> RacWorkload:
    workload = RacWorkload(rac_data.config(data, **settings), 1)
    workload.shard(part, count)
    return workload


def trained(workload: RacWorkload, steps: int = 60) -> np.ndarray:
    params = workload.initial()
    for round_ in (1, 2, 3):
        result = workload.train(
            params,
            round_=round_,
            rounds=3,
            data_seed=b"seed%d" % round_,
            steps=steps // 3,
            deadline_s=1e9,
            continued=False,
            clock=lambda: 0.0,
        )
        params = params - result.update
    return params


def test_it_is_found_by_its_name_and_has_shards_and_a_memory(data):
    assert load("rac") is RacWorkload
    workload = node(data)
    assert isinstance(workload, Remembers)
    assert isinstance(workload, Sharded)
    entries = list(told(workload))
    form = workload.memory
    assert sum(map(len, entries)) == 200
    assert all(
        part.keys.dtype == np.int8 and part.keys.shape[1] == form.key_dims for part in entries
    )
    assert {part.payload.shape[1] for part in entries} == {form.payload_bytes}
    lengths = np.concatenate([np.linalg.norm(part.float_keys(), axis=1) for part in entries])
    assert np.allclose(lengths, 1, atol=0.03)


def test_training_makes_it_better_in_every_branch(data):
    workload = node(data, imbalance=4, few=14, lr=0.01)
    list(told(workload))
    before = workload.evaluate(workload.initial())
    after = workload.evaluate(trained(workload, 120))
    assert before["accuracy"] < 0.5
    assert after["accuracy"] > 0.8
    for name in ("base_accuracy", "retrieval_accuracy", "vote_accuracy", "few"):
        assert after[name] > 0.5, (name, after)


def test_a_training_example_never_finds_itself_or_a_copy_of_itself(data):
    workload, copier = node(data), node(data)
    for part in told(copier):
        workload.absorb("copier", part)
    list(told(workload))
    rows = np.arange(len(workload.own))
    found = workload.own.found(rows)
    assert found.similarity.max() < 0.9999
    assert workload.test.found(rows[:80]).similarity.max() < 0.9999


def test_shards_are_apart_and_what_one_lacks_it_learns_of_the_others(data):
    nodes = [node(data, i, 3, shards="classes", concentration=0.1) for i in range(3)]
    shared = [list(told(one)) for one in nodes]
    assert sum(len(part) for parts in shared for part in parts) == 200
    alone = nodes[0].evaluate(nodes[0].initial())["vote_accuracy"]
    for number, parts in enumerate(shared[1:], 1):
        for part in parts:
            nodes[0].absorb(f"peer-{number}", part)
    assert nodes[0].evaluate(nodes[0].initial())["vote_accuracy"] > alone + 0.2


@pytest.mark.parametrize("vote", ["text", "label"])
def test_a_new_class_is_recognised_from_its_entries_alone_and_forgotten_with_them(tmp_path, vote):
    path = rac_data.write(tmp_path / "without.npz", without=(2,))
    workload = node(path, vote=vote)
    list(told(workload))
    params = trained(workload, 30)
    answers = workload.answers(params)
    new = answers.labels == 2
    assert not (answers.found.votes[new].argmax(axis=1) == 2).any()
    pictures = rac_data.pictures(np.full(40, 2), np.random.default_rng(9))
    workload.absorb("newcomer", workload.pack(pictures, np.full(40, 2)))
    answers = workload.answers(params)
    assert (answers.found.votes[new].argmax(axis=1) == 2).mean() > 0.7
    if vote == "label":
        assert (answers.retrieval[new].argmax(axis=1) == 2).mean() > 0.7
    workload.forget("newcomer")
    answers = workload.answers(params)
    assert not (answers.found.labels == 2).any()


def test_a_new_life_shares_nothing_twice(data):
    parts = list(told(node(data)))
    again = node(data)
    again.absorb("", parts[0].part(0, 100))
    rest = list(told(again))
    assert sum(map(len, rest)) == 100
    assert np.array_equal(rest[0].keys, parts[0].keys[100:])


def test_hostile_entries_are_dropped_and_counted(data):
    workload, other = node(data, 0, 2), node(data, 1, 2)
    good = next(told(other)).part(0, 8)
    text = good.payload.copy()
    text[:, 0] = 0xFF
    bad = [
        replace(good, values=good.values + 0.5),
        replace(good, values=np.full(8, 4, np.float32)),
        replace(good, values=np.full(8, -1, np.float32)),
        replace(good, values=np.full(8, 1e30, np.float32)),
        replace(good, keys=np.zeros_like(good.keys)),
        replace(good, key_scale=good.key_scale * 2),
        replace(good, payload=text),
    ]
    for entries in bad:
        workload.absorb("liar", entries)
    assert workload.evaluate(workload.initial())["entries_dropped"] == 7 * 8
    workload.absorb("liar", replace(good, payload=np.repeat(good.payload[:1], 8, axis=0)))
    contradicting = int((good.values != good.values[0]).sum())
    assert contradicting > 0
    assert workload.evaluate(workload.initial())["entries_dropped"] == 56 + contradicting


def test_more_authors_than_a_memory_holds_harm_nothing(data):
    workload, other = node(data, 0, 2), node(data, 1, 2)
    good = next(told(other)).part(0, 2)
    for number in range(AUTHORS_MAX + 3):
        workload.absorb(f"peer-{number}", good)
    assert workload.evaluate(workload.initial())["entries_dropped"] == 2 * 4


@pytest.mark.parametrize(
    "settings", [{}, {"index": "hnsw", "keys": "fp16"}, {"index": "codes"}], ids=str
)
def test_a_liar_is_distrusted_and_costs_little(data, settings, monkeypatch):
    monkeypatch.setattr(coded_vectors, "TRAIN_ROWS", 90)  # of the 100 entries of an author
    monkeypatch.setattr(coded_vectors, "CODE_BITS", 6)
    honest = node(data, 0, 2, **settings)
    lies = list(told(node(data, 1, 2, **settings)))
    list(told(honest))
    clean = honest.evaluate(honest.initial())["vote_accuracy"]
    texts = {int(v): p for part in lies for v, p in zip(part.values, part.payload, strict=True)}
    for part in lies:
        wrong = (part.values + 1) % 4
        payload = np.stack([texts[int(v)] for v in wrong])
        honest.absorb("liar", replace(part, values=wrong, payload=payload))
    after = honest.evaluate(honest.initial())
    assert after["trust_min"] < 0.2
    assert after["vote_accuracy"] >= clean - 0.05


@pytest.mark.parametrize(("dimensions", "code_bytes"), [(1280, 160), (784, 98), (144, 18), (7, 1)])
def test_a_code_divides_the_key(dimensions, code_bytes):
    assert index_settings("codes", dimensions).code_bytes == code_bytes


def test_artifacts_are_pictures(data, tmp_path):
    workload = node(data)
    list(told(workload))
    paths = workload.artifacts(workload.initial(), tmp_path / "shown")
    assert [path.name for path in paths] == ["confusion.png", "classes.png", "neighbours.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
    alone = node(data, branches="base")
    assert len(alone.artifacts(alone.initial(), tmp_path / "alone")) == 2


def test_without_a_memory_nothing_is_shared(data):
    workload = node(data, branches="base")
    done = workload.advance(10, 1.0, lambda: 0.0)
    assert done.waiting
    assert len(done.entries) == 0
    trained(workload, 6)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"text_width": 10}, "multiple of 4"),
        ({"few": 200}, "above many"),
        ({"neighbors": 3}, "unknown key"),
        ({"encoder": "resnet"}, "encoder"),
        ({"text": "bert"}, "text"),
        ({"imbalance": 2000}, "imbalance"),
    ],
)
def test_a_config_that_cannot_work_says_what_to_do(data, settings, says):
    with pytest.raises(WorkloadError, match=says):
        node(data, **settings)


@pytest.mark.parametrize("name", ["rac-fashion-lt", "rac-quick"])
def test_an_example_has_the_size_that_it_states(name):
    text = (Path(__file__).parents[2] / "examples" / f"{name}.toml").read_text()
    config = RacConfig.parse(tomllib.loads(text)["workload"])
    shapes = network.compute_shapes(network.Form(config, 10, 1, None))
    assert f"({sum(math.prod(shape) for _, shape in shapes):,} parameters)" in text


def test_a_part_that_is_not_there_is_refused(data):
    with pytest.raises(WorkloadError, match="part 3 of 3"):
        node(data, 3, 3)
