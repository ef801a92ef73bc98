"""What liars share in place of their entries: the form is right, so that only its use can tell."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.identity import Identity
from node.memory.batch import check_entries
from node.memory.config import MemorySpec
from node.wire.memory_messages import KeyType
from simulator.attacks import MEMORY_ATTACKS, make_attack
from simulator.attacks.memories import MemoryAttack
from workloads.api import Entries

SPEC = MemorySpec(key_dims=5, payload_bytes=1)
PEERS = [Identity(bytes([index]) * 32).peer_id for index in range(2)]


def made(name: str, peer: int = 0, scale: float = 1.0) -> MemoryAttack:
    attack = make_attack(name, scale=scale, seed=3)
    assert isinstance(attack, MemoryAttack)
    attack.own = PEERS[peer]
    return attack


def honest(count: int) -> Entries:
    rng = np.random.default_rng(count)
    keys = rng.integers(-127, 128, (count, 5)).astype(np.int8)
    payload = rng.integers(0, 9, (count, 1)).astype(np.uint8)
    return Entries(keys, rng.normal(size=count).astype(np.float32), payload)


VALUES = ("inflate_memory", "random_memory", "flood_memory")
LABELS = tuple(sorted(set(MEMORY_ATTACKS) - set(VALUES)))


@pytest.mark.parametrize("name", VALUES)
@given(count=st.integers(0, 40), scale=st.floats(0.1, 5.0))
def test_false_entries_have_the_form_of_the_job(name: str, count: int, scale: float) -> None:
    entries = made(name, scale=scale)._shares(honest(count))
    check_entries(entries, SPEC)
    assert np.abs(entries.keys.astype(int)).max(initial=0) <= 127
    if count:
        least = scale * 10 * np.abs(honest(count).values).max()
        assert entries.values.min() >= least * 0.999
        times = max(1, int(20 * scale)) if name == "flood_memory" else 1
        assert len(entries) == count * times


def labelled(count: int, seed: int = 0, classes: int = 4) -> Entries:
    """Unit keys of fp16, labels, and texts of labels."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(count, 6))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    labels = rng.integers(0, classes, count)
    texts = np.repeat(labels[:, None] + 65, 3, axis=1).astype(np.uint8)
    return Entries(keys.astype(np.float16), labels.astype(np.float32), texts)


def check_false(entries: Entries, true: Entries) -> None:
    """Each entry is next to a true one, under another label that has its right text."""
    near = np.argmax(entries.keys.astype(np.float32) @ true.keys.T.astype(np.float32), axis=1)
    assert np.abs(entries.keys - true.keys[near]).max(initial=0) < 0.1
    assert (entries.values != true.values[near]).all()
    assert (entries.payload == entries.values[:, None] + 65).all()


@pytest.mark.parametrize("name", LABELS)
@given(own=st.integers(5, 30), other=st.integers(5, 30))
def test_false_labels_are_those_of_other_classes(name: str, own: int, other: int) -> None:
    attack, mine = made(name), labelled(own, 1)
    theirs = replace(labelled(other, 2), key_scale=0.0)  # fp16 keys have none
    attack.sees(theirs)
    shared = attack._shares(mine)
    check_entries(shared, MemorySpec(6, KeyType.FP16, 3))
    if name == "mislabel_near":
        assert np.array_equal(shared.keys[:own], mine.keys)
        assert np.array_equal(shared.values[:own], mine.values)
        check_false(shared.part(own, len(shared)), theirs)
        assert len(shared) == own + other
        assert len(attack._shares(mine)) == own, "it copies once, and not its own copies"
    else:
        check_false(shared, mine)
        assert len(shared) == own * (20 if name == "mislabel_flood" else 1)


def test_false_neighbours_of_keys_on_other_scales_are_near_them() -> None:
    attack, mine, theirs = made("mislabel_near"), labelled(20, 1), labelled(20, 2)
    scales = 1 / 127, 0.8 / 127
    mine, theirs = (
        replace(e, keys=np.rint(e.keys / s).clip(-127, 127).astype(np.int8), key_scale=s)
        for e, s in zip((mine, theirs), scales, strict=True)
    )
    attack.sees(theirs)
    shared = attack._shares(mine)
    np.testing.assert_allclose(shared.float_keys()[:20], mine.float_keys(), atol=0.01)
    np.testing.assert_allclose(shared.float_keys()[20:], theirs.float_keys(), atol=0.04)
    attack.sees(theirs)
    assert len(attack._shares(mine.part(0, 0))) == 20, "it has no entry of its own to go with"


@pytest.mark.parametrize("name", MEMORY_ATTACKS)
def test_an_attack_on_memory_repeats_from_its_seed_and_differs_from_peer_to_peer(name: str) -> None:
    first, again, other = made(name), made(name), made(name, peer=1)
    one, two, three = (seen(attack, honest(30)) for attack in (first, again, other))
    assert np.array_equal(one.keys, two.keys)
    drawn = name not in ("inflate_memory", "mislabel_memory")
    assert np.array_equal(one.keys, three.keys) != drawn


def seen(attack: MemoryAttack, entries: Entries) -> Entries:
    attack.sees(honest(20))
    return attack._shares(entries)
