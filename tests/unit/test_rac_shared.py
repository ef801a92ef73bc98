"""The retrieval branch learns from what other nodes wrote down, as far as they are believed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("faiss", reason="the extra artel-node[rac] is not installed")

from tests.unit import rac_data
from tests.unit.test_rac_workload import node, told, trained
from workloads.rac import shared_examples as shared
from workloads.rac.network import retrieval_logits
from workloads.rac.objective import Batch, objective
from workloads.rac.workload import RacWorkload
from workloads.recall.neighbours import ROW_BITS


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def halves(tmp_path) -> tuple[Path, Path]:
    """Data of classes 0 and 1 only, and of 2 and 3 only."""
    return (
        rac_data.write(tmp_path / "first.npz", without=(2, 3)),
        rac_data.write(tmp_path / "second.npz", without=(0, 1)),
    )


def pair(halves: tuple[Path, Path], **settings) -> RacWorkload:
    """A node with half the classes that has heard of the others."""
    workload, other = (node(half, lr=0.01, **settings) for half in halves)
    list(told(workload))
    for part in told(other):
        workload.absorb("other", part)
    return workload


def test_it_tells_classes_apart_of_which_the_node_has_no_picture(halves):
    accuracy = {}
    for learn in ("own", "all"):
        workload = pair(halves, learn=learn, vote="text")
        answers = workload.answers(trained(workload, 120))
        theirs = answers.labels >= 2
        accuracy[learn] = (answers.retrieval.argmax(axis=1) == answers.labels)[theirs].mean()
    assert accuracy["own"] < 0.3
    assert accuracy["all"] > 0.8


def test_entries_of_who_is_not_believed_or_was_forgotten_are_no_examples(halves, tmp_path):
    workload = pair(halves)
    liar = node(rac_data.write(tmp_path / "all.npz"))
    rng = np.random.default_rng(0)
    for part in told(liar):
        values = (part.values + rng.integers(1, 4, len(part))) % 4
        payload = liar.pack(np.zeros((4, rac_data.SIDE, rac_data.SIDE, 1), np.uint8), np.arange(4))
        workload.absorb(
            "liar", replace(part, values=values, payload=payload.payload[values.astype(int)])
        )
    examples, numbers = workload._shared, workload._catalogue.authors
    examples.refresh(rng)
    authors = set((examples._ids >> ROW_BITS).tolist())
    assert numbers["other"] in authors
    assert numbers["liar"] not in authors
    workload.forget("other")
    examples.refresh(rng)
    assert set((examples._ids >> ROW_BITS).tolist()) == {0}
    assert examples.draw(8, rng) is None


def test_of_a_large_memory_some_entries_are_drawn(halves, monkeypatch):
    monkeypatch.setattr(shared, "EXAMPLES_MAX", 50)
    workload = pair(halves)
    workload._shared.refresh(np.random.default_rng(0))
    first = workload._shared._ids
    workload._shared.refresh(np.random.default_rng(1))
    assert len(first) == 50
    assert workload._shared._ids is first
    lesson = workload._shared.draw(16, np.random.default_rng(2))
    assert set(lesson.targets.tolist()) == {0, 1, 2, 3}


def test_the_loss_is_the_sum_of_the_papers_and_each_branchs_own(halves):
    workload = pair(halves)
    rng = np.random.default_rng(3)
    workload._shared.refresh(rng)
    lesson, own = workload._shared.draw(6, rng), workload.own
    batch = Batch(
        own.pictures[:5].float(), own.looked(np.arange(5)), own.targets[:5], workload._offsets
    )
    form, named = workload._form, workload._named()
    cross = torch.nn.functional.cross_entropy
    whole = objective(form, named, batch, lesson)
    less = objective(form, named, batch, None)
    logits = retrieval_logits(form, named, batch.looked)
    wanted = cross(retrieval_logits(form, named, lesson.looked) + lesson.offsets, lesson.targets)
    wanted = wanted - cross(logits + batch.offsets, batch.targets)
    assert torch.allclose(whole - less, workload.config.branch_loss * wanted, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"learn": "own"}, {"branches": "base"}, {"branches": "retrieval"}, {"copies": 1}]
)
def test_some_jobs_learn_from_own_examples_only(halves, settings):
    assert node(halves[0], **settings)._shared is None
