"""The update within the episode ends at the Monte-Carlo return of a backward pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.nait.credit import EndOfTrace, InEpisode
from workloads.nait.outbox import Outbox
from workloads.nait.trace import Trace, backward_returns, horizon
from workloads.recall.index import FlatIndex
from workloads.recall.memory import Memory, digest


def sparse_rewards(rng, steps, share=0.1):
    return np.where(rng.random(steps) < share, rng.uniform(0, 30, steps), 0).astype(np.float32)


@pytest.mark.parametrize(("gamma", "steps"), [(0.95, 180), (0.99, 917)])
def test_horizon_is_that_of_the_notes(gamma, steps):
    assert horizon(gamma) == steps


@pytest.mark.parametrize("gamma", [0.9, 0.95, 0.99])
def test_partial_returns_of_ten_thousand_steps_end_at_the_backward_pass(gamma):
    """As docs/workloads.md has it, "Credit": to 1e-4 of the largest return."""
    rewards = sparse_rewards(np.random.default_rng(7), 10_000)
    trace, values = Trace(gamma), np.zeros(10_000, np.float32)
    for step, reward in enumerate(rewards.tolist()):
        trace.visit(step, 1.0, False)
        if reward:
            trace.credit(reward, values)
    want = backward_returns(rewards, gamma)
    tolerance = 1e-4 * np.abs(want).max()
    np.testing.assert_allclose(trace.returns, want, rtol=0, atol=tolerance)
    np.testing.assert_allclose(values, want, rtol=0, atol=tolerance)


def test_backward_returns_are_the_sums_that_define_them():
    rewards = sparse_rewards(np.random.default_rng(8), 40, 0.5)
    powers = 0.9 ** np.arange(40)
    want = [float((rewards[i:] * powers[: 40 - i]).sum()) for i in range(40)]
    np.testing.assert_allclose(backward_returns(rewards, 0.9), want, rtol=1e-5)


def by_name(memory):
    """Own values by (group, key)."""
    pairs = zip(memory.groups.tolist(), memory.keys.tolist(), strict=True)
    names = [(group, *key) for group, key in pairs]
    return dict(zip(names, memory.values[0].tolist(), strict=True))


def memories(rng, traces, alpha, gamma):
    """The same play with revisits, remembered in both ways. Values by (action, key)."""
    kinds = (InEpisode, EndOfTrace)
    makers = [Memory(2, 3, lambda: FlatIndex(3)) for _ in kinds]
    credits = [kind(memory, gamma, alpha) for kind, memory in zip(kinds, makers, strict=True)]
    for _ in range(traces):
        steps = int(rng.integers(1, 60))
        rewards = sparse_rewards(rng, steps, 0.3)
        actions, keys = rng.integers(2, size=steps), rng.integers(3, size=(steps, 3))
        for action, key, reward in zip(actions.tolist(), keys, rewards.tolist(), strict=True):
            for credit in credits:
                key_8 = key.astype(np.int8)
                credit.visit(action, key_8, digest(key_8))
                credit.reward(reward)
        for credit in credits:
            credit.close()
    return [by_name(memory) for memory in makers]


@given(st.integers(0, 1 << 32), st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([0.6, 0.95]))
@settings(max_examples=25, deadline=None)
def test_with_revisits_both_updates_learn_the_same(seed, alpha, gamma):
    """The moving average over visits, also of visits within one trace."""
    early, late = memories(np.random.default_rng(seed), 4, alpha, gamma)
    assert early.keys() == late.keys()
    scale = max(1.0, *map(abs, late.values()))
    for name, value in late.items():
        assert early[name] == pytest.approx(value, abs=2e-4 * scale)


def test_a_revisit_decays_before_the_trace_ends():
    memory = Memory(1, 2, lambda: FlatIndex(2))
    credit = InEpisode(memory, 0.9, 0.3)
    key = np.ones(2, np.int8)
    credit.visit(0, key, digest(key))
    credit.reward(10.0)
    credit.visit(0, key, digest(key))
    assert memory.values[0, 0] == pytest.approx(7.0)


def test_only_steps_beyond_the_horizon_are_final():
    memory = Memory(1, 2, lambda: FlatIndex(2))
    credit = InEpisode(memory, 0.6, 0.3)  # L = 19
    keys = np.stack([np.arange(40), np.zeros(40)], axis=1).astype(np.int8)
    for key in keys:
        credit.visit(0, key, digest(key))
        credit.reward(0.0)
    assert credit.take(100).tolist() == list(range(40 - horizon(0.6)))
    credit.close()
    assert credit.take(5).tolist() == list(range(21, 26))
    assert credit.take(100).tolist() == list(range(26, 40))
    assert credit.take(100).tolist() == []


def test_forgetting_an_author_amid_a_trace_leaves_the_trace_as_it_is():
    rng = np.random.default_rng(9)
    memories = [Memory(2, 2, lambda: FlatIndex(2)) for _ in range(2)]
    disturbed, clean = (InEpisode(memory, 0.8, 0.3) for memory in memories)
    liar = memories[0].number("liar")
    for step in range(60):
        key, reward = rng.integers(-9, 9, 2).astype(np.int8), float(step % 7 == 0)
        foreign = rng.integers(-9, 9, (3, 2)).astype(np.int8)
        if step < 30:
            memories[0].write(liar, np.uint8([0, 1, 1]), foreign, np.float32([9, 9, 9]))
        for credit in (disturbed, clean):
            credit.visit(step % 2, key, digest(key))
            credit.reward(reward)
        if step == 30:
            disturbed.renumber(memories[0].forget(liar))
    assert by_name(memories[0]) == by_name(memories[1])
    disturbed.close()
    clean.close()
    sent = [
        memory.keys[c.take(100)] for memory, c in zip(memories, (disturbed, clean), strict=True)
    ]
    assert np.array_equal(*sent)


def test_comparisons_come_once_steps_are_final():
    memory = Memory(1, 2, lambda: FlatIndex(2))
    credit = InEpisode(memory, 0.6, 0.3)  # L = 19
    told, got = np.float32([1, 2]), []
    for step in range(50):
        key = np.int8([step, 0])
        credit.foretell(told + np.float32(step), told)
        credit.visit(0, key, digest(key))
        credit.reward(1.0)
        if step in (9, 39):
            got.append(credit.compared())
    credit.close()
    got.append(credit.compared())
    assert [len(part) for part in got] == [0, 40 - horizon(0.6), 50 - 40 + horizon(0.6)]
    for step, (estimates, _, came) in enumerate(got[1] + got[2]):
        assert estimates[0] == 1 + step
        assert came == pytest.approx((1 - 0.6 ** (50 - step)) / 0.4, rel=1e-3)


def test_a_node_whose_newest_visit_is_open_waits():
    box = Outbox()
    for node in (4, 5, 6, 5, 4):
        box.visit(node)
    assert box.take(1, 100).tolist() == [6, 5]
    assert box.take(0, 100).tolist() == [4]


@given(st.integers(0, 1 << 32))
@settings(max_examples=8, deadline=None)
def test_exported_values_change_no_more_until_the_next_visit(seed):
    rng = np.random.default_rng(seed)
    memory = Memory(1, 2, lambda: FlatIndex(2))
    credit = InEpisode(memory, 0.7, 0.3)
    sent = {}
    for _ in range(200):
        key = rng.integers(12, size=2).astype(np.int8)
        credit.visit(0, key, digest(key))
        sent.pop(memory.find(0, digest(key)), None)
        credit.reward(float(rng.integers(0, 3)))
        if rng.random() < 0.02:
            credit.close()
        if rng.random() < 0.1:
            sent |= {int(n): float(memory.values[0, n]) for n in credit.take(50)}
        for node, value in sent.items():
            assert memory.values[0, node] == pytest.approx(value, abs=1e-3)
