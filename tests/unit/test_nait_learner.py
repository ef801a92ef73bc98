"""The learner: it learns, replays, resumes and shares, and refuses what is hostile."""

import dataclasses
import itertools

import numpy as np
import pytest

from workloads.api import WorkloadError
from workloads.nait import Batch, Learner
from workloads.nait.config import NaitConfig
from workloads.nait.games import make_environment
from workloads.nait.policy import Policy
from workloads.recall.retrieval import Estimates

WHY = "the extra nait is not installed: pip install 'artel-node[nait]'"
pytest.importorskip("faiss", reason=WHY)
gymnasium = pytest.importorskip("gymnasium", reason=WHY)
pytest.importorskip("ale_py", reason=WHY)

POLE = {"environment": "gymnasium:CartPole-v1", "frames": 1, "stall_steps": 0}
GAME = {"environment": "breakout", "coefficients": 5}


def still():
    return 0.0


def played(config, seed, steps):
    learner = Learner(config, seed)
    learner.play(steps, 1.0, still)
    return learner


def same_memory(a, b):
    return np.array_equal(a.memory.keys, b.memory.keys) and np.array_equal(
        a.memory.values, b.memory.values, equal_nan=True
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, r"unknown key colour: remove it \(known: environment, protocol"),
        ({"gamma": 1}, r"gamma = 1: .*less than or equal to 0.999"),
        ({"protocol": "sticky"}, r"protocol = 'sticky': Input should be 'standard' or"),
        ({"environment": "chess"}, r"no Atari game 'chess': choose one of .*breakout"),
        ({"environment": "gymnasium:Nowhere-v0"}, "no environment 'Nowhere-v0'"),
        ({"environment": "gymnasium:Pendulum-v1"}, "2 to 256 discrete actions"),
    ],
)
def test_bad_setting_is_refused_with_what_to_do(change, sentence):
    with pytest.raises(WorkloadError, match=sentence):
        Learner({**GAME, **change}, 1)


def test_a_missing_environment_and_a_negative_seed_are_named():
    with pytest.raises(WorkloadError, match="environment is missing: add it"):
        Learner({}, 1)
    with pytest.raises(WorkloadError, match="seed -1 is negative"):
        Learner(POLE, -1)


def test_it_learns_to_balance_a_pole():
    learner = played(POLE, 1, 6000)
    scores = [episode.score for episode in learner.records.episodes]
    assert np.mean(scores[-10:]) > 100  # random play: 22


class Dot(gymnasium.Env):
    """A dot on a picture moves left or right; the right edge pays."""

    observation_space = gymnasium.spaces.Box(0, 255, (12, 20, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.left = int(self.np_random.integers(4, 8)), 60
        return self.picture(), {}

    def step(self, action):
        assert action in (1, 2)
        self.at, self.left = self.at + (1 if action == 2 else -1), self.left - 1
        paid = self.at >= 16
        return self.picture(), float(paid), paid or self.at < 2, self.left == 0, {}

    def picture(self):
        picture = np.zeros((12, 20, 3), np.uint8)
        picture[4:8, max(0, self.at) : self.at + 4] = 200
        return picture


def test_it_learns_from_the_pictures_of_any_environment(tmp_path):
    gymnasium.register("Dot-v0", entry_point=Dot)
    learner = played({"environment": "gymnasium:Dot-v0"}, 1, 3000)
    assert learner.records.recent() == 1.0  # random play: below 0.4
    assert (tmp_path / "best.gif") in learner.artifacts(tmp_path)


def test_equal_seeds_play_equal_games_and_others_do_not():
    a, b, c = (played(GAME, seed, 400) for seed in (3, 3, 4))
    assert same_memory(a, b)
    assert a.records.episodes == b.records.episodes
    assert not same_memory(a, c)


@pytest.mark.parametrize("update", ["in_episode", "end_of_trace"])
@pytest.mark.parametrize("game", [GAME, POLE])
def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(tmp_path, game, update):
    config = {**game, "update": update, "explore": 0.1}
    whole = played(config, 5, 700)
    whole.absorb(played(config, 6, 300).export(), "a peer")
    whole.checkpoint(tmp_path / "kept.npz")
    again = Learner(config, 5)
    again.restore(tmp_path / "kept.npz")
    for learner in (whole, again):
        learner.play(300, 1.0, still)
    assert same_memory(whole, again)
    assert whole.metrics() == again.metrics() or np.isnan(whole.metrics()["score"])
    assert whole.records.moves == again.records.moves


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    played(POLE, 1, 20).checkpoint(tmp_path / "kept.npz")
    with pytest.raises(WorkloadError, match="another config or seed"):
        Learner(POLE, 2).restore(tmp_path / "kept.npz")
    (tmp_path / "kept.npz").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(WorkloadError, match="cannot read the checkpoint"):
        Learner(POLE, 1).restore(tmp_path / "kept.npz")


def test_a_deadline_ends_a_call():
    ticks = itertools.count()
    progress = Learner(POLE, 1).play(1000, 5.0, lambda: float(next(ticks)))
    assert progress.steps == 5


@pytest.mark.parametrize("protocol", ["standard", "deterministic"])
def test_moves_replay_to_the_same_score(protocol):
    learner = Learner({**GAME, "protocol": protocol, "stall_steps": 60}, 2)
    while not learner.records.episodes or learner.records.best == 0:
        learner.play(200, 1.0, still)
    game = make_environment(learner.config)
    game.reset(learner.records.best_start)
    score = sum(game.step(move).reward for move in learner.records.best_moves)
    assert score == learner.records.best


def test_deterministic_episodes_start_alike_and_standard_ones_do_not():
    for protocol, alike in (("deterministic", True), ("standard", False)):
        game = make_environment(NaitConfig.parse({**GAME, "protocol": protocol}))
        rng = np.random.default_rng(1)
        starts = {game.draw_start(rng) for _ in range(40)}
        assert (len(starts) == 1) == alike
        assert max(starts) == (250 if alike else 30)


def test_the_stall_rule_ends_an_episode():
    learner = played({**GAME, "stall_steps": 40}, 1, 1500)
    assert any(episode.stalled for episode in learner.records.episodes)


def ties(actions, value=0.0):
    values = np.full(actions, value, np.float32)
    return Estimates(values, np.ones(actions, np.float32), values[None], values[None])


def test_a_choice_between_equals_is_held_and_ends_with_the_tie():
    policy, rng = Policy(0.0, 2.0), np.random.default_rng(1)
    drawn = np.array([policy.choose(ties(4), rng) for _ in range(4000)])
    runs = np.diff(np.flatnonzero(np.diff(drawn)))
    assert (runs == 1).mean() < 0.75  # evenly drawn at every step: 0.75
    assert runs.max() > 50
    assert set(drawn.tolist()) == {0, 1, 2, 3}
    policy = Policy(0.0, 1.1)
    held = policy.choose(ties(4), rng)
    better = ties(4)
    better.value[(held + 1) % 4] = 1.0
    assert policy.choose(better, rng) == (held + 1) % 4


def test_without_hold_ties_are_drawn_evenly():
    policy, rng = Policy(0.0, 0.0), np.random.default_rng(1)
    drawn = [policy.choose(ties(4, np.nan), rng) for _ in range(4000)]
    assert np.bincount(drawn).min() > 900


def test_a_bonus_prefers_what_is_far():
    policy, rng = Policy(0.5, 0.0), np.random.default_rng(1)
    known = ties(3, 1.0)
    policy.choose(known, rng)
    known.distance[2] = 9.0
    assert policy.choose(known, rng) == 2


def test_exports_hold_each_entry_as_it_ends_up():
    learner = Learner(POLE, 1)
    known = {}
    for _ in range(20):
        learner.play(50, 1.0, still)
        batch = learner.export()
        rows = zip(batch.actions.tolist(), batch.keys.tolist(), batch.values, strict=True)
        known |= {(action, *key): value for action, key, value in rows}
    memory = learner.memory
    names = zip(memory.groups.tolist(), memory.keys.tolist(), memory.values[0], strict=True)
    final = {(group, *key): value for group, key, value in names}
    assert len(known) > 0.7 * len(final)
    near = [abs(final[name] - value) < 1e-3 for name, value in known.items()]
    assert np.mean(near) > 0.9  # those seen again since have moved on


def test_what_another_exports_is_known_by_its_exact_keys():
    deterministic = {**GAME, "protocol": "deterministic"}
    a, b = played(deterministic, 1, 500), played(deterministic, 2, 500)
    nodes = b.memory.nodes
    batch = a.export()
    b.absorb(batch, "a")
    assert b.memory.entries(1) == len(batch)
    assert b.memory.nodes < nodes + len(batch)  # the same start: equal keys are one node


def test_a_newcomer_plays_from_what_others_know():
    expert = played(POLE, 1, 6000)
    alone, helped = Learner(POLE, 9), Learner(POLE, 9)
    helped.absorb(expert.export(20_000), "expert")
    for learner in (alone, helped):
        learner.play(600, 1.0, still)
    assert helped.records.recent(5) > 1.5 * alone.records.recent(5)


def inflated(batch):
    return dataclasses.replace(batch, values=batch.values * np.float32(30) + np.float32(500))


def test_an_author_of_inflated_values_fades_and_an_honest_one_does_not():
    honest, liar = played(POLE, 1, 1500), played(POLE, 2, 1500)
    learner = played(POLE, 3, 1000)
    learner.absorb(honest.export(), "honest")
    learner.absorb(inflated(liar.export()), "liar")
    learner.play(1500, 1.0, still)
    trust = {author.name: author.trust for author in learner.authors()}
    assert trust["liar"] < 0.1
    assert trust["honest"] > 0.6


@pytest.mark.parametrize(
    "change",
    [
        {"keys": np.zeros((3, 5), np.int8)},
        {"keys": np.zeros((2, 4), np.int8)},
        {"keys": np.zeros((3, 4), np.float32)},
        {"keys": np.full((3, 4), -128, np.int8)},
        {"actions": np.array([0, 1, 2], np.uint8)},
        {"actions": np.zeros((3, 1), np.uint8)},
        {"actions": np.zeros(3, np.int64)},
        {"values": np.array([0, 1, np.nan], np.float32)},
        {"values": np.array([0, 1, -np.inf], np.float32)},
        {"values": np.array([0, 1, 1e12], np.float32)},
        {"values": np.zeros(2, np.float32)},
        {"values": [0.0, 0.0, 0.0]},
    ],
)
def test_hostile_batches_are_refused_whole(change):
    learner = Learner(POLE, 1)
    good = Batch(np.zeros((3, 4), np.int8), np.zeros(3, np.uint8), np.zeros(3, np.float32))
    with pytest.raises(WorkloadError, match="batch"):
        learner.absorb(dataclasses.replace(good, **change), "x")
    assert learner.authors() == []
    learner.absorb(good, "x")


def test_an_author_supplies_no_more_than_its_quota():
    learner = Learner({**POLE, "author_entries": 100}, 1)
    learner.absorb(played(POLE, 2, 400).export(), "eager")
    assert learner.authors()[0].entries <= 100
    assert learner.metrics()["entries_dropped"] > 0


def test_artifacts_are_pictures(tmp_path):
    learner = Learner({**GAME, "stall_steps": 40}, 1)
    assert learner.artifacts(tmp_path) == []
    learner.play(400, 1.0, still)
    learner.absorb(played(GAME, 2, 200).export(), "b")
    made = learner.artifacts(tmp_path)
    assert [path.name for path in made] == ["best.gif", "curve.png", "memory.png"]
    assert made[0].read_bytes()[:6] == b"GIF89a"
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in made[1:])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in made}
