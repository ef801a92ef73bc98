"""NAIT as a job: what leaves it, what comes in, and what a liar cannot do to it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("faiss", reason="the extra artel-node[nait] is not installed")
pytest.importorskip("gymnasium", reason="the extra artel-node[nait] is not installed")

from workloads.api import Entries, Remembers, load
from workloads.nait.workload import NaitWorkload

CONFIG = {"environment": "gymnasium:CartPole-v1", "stall_steps": 0}


def player(seed: int = 1) -> NaitWorkload:
    made = NaitWorkload(CONFIG, 1)
    made.start(seed.to_bytes(32, "big"))
    return made


def played(made: NaitWorkload, steps: int = 300) -> Entries:
    return made.advance(steps, 1e9, lambda: 0.0).entries


def test_it_is_found_by_its_name_and_shares_a_memory() -> None:
    assert load("nait") is NaitWorkload
    made = player()
    assert isinstance(made, Remembers)
    entries = played(made)
    assert len(entries) > 100
    assert entries.keys.shape[1] == made.memory.key_dims
    assert entries.payload.shape == (len(entries), made.memory.payload_bytes)
    assert np.isfinite(entries.values).all()


def test_players_of_other_seeds_live_through_other_things_and_remember_each_other() -> None:
    one, two = player(1), player(2)
    told = played(one)
    assert not np.array_equal(told.keys[:50], played(two).keys[:50])
    before = two.evaluate(two.initial())["entries_others"]
    two.absorb("peer-one", told)
    assert two.evaluate(two.initial())["entries_others"] > before
    two.forget("peer-one")
    played(two, 600)  # until the running trace has ended
    assert two.evaluate(two.initial())["entries_others"] == 0


def test_a_new_life_remembers_what_the_last_one_shared() -> None:
    told = played(player(1))
    again = NaitWorkload(CONFIG, 1)
    again.absorb("", told)
    assert again.evaluate(again.initial())["entries_own"] == len(
        {row.tobytes() for row in np.concatenate([told.keys, told.payload.view(np.int8)], axis=1)}
    )


@pytest.mark.parametrize("author", ["liar", ""])
def test_what_no_player_makes_is_dropped_and_the_game_goes_on(author: str) -> None:
    made, told = player(1), played(player(2))
    action = np.full_like(told.payload, 200)
    out_of_range = np.full_like(told.keys, -128)
    huge = np.full_like(told.values, 1e30)
    for bad in (
        replace(told, payload=action),
        replace(told, keys=out_of_range),
        replace(told, values=huge),
    ):
        made.absorb(author, bad)
    numbers = made.evaluate(made.initial())
    assert (numbers["batches_dropped"], numbers["entries_others"]) == (3, 0)
    assert len(played(made)) > 0


def test_the_swarm_agrees_on_what_each_tells() -> None:
    made = player()
    played(made, 400)
    told = made.train(
        np.array([5.0, 1.0, 10.0], np.float32),
        round_=1,
        rounds=2,
        data_seed=b"x",
        steps=7,
        deadline_s=1.0,
        continued=False,
        clock=lambda: 0.0,
    )
    after = np.array([5.0, 1.0, 10.0], np.float32) - told.update
    own = made.evaluate(after)
    assert after.tolist() == pytest.approx([own["score"], own["episodes"], own["steps"]])
    assert own["swarm_score"] == pytest.approx(own["score"])
    assert told.steps_done == 7
