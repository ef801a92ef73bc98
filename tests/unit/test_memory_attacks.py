"""What liars share in place of their entries: the form is right, so that only its use can tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.identity import Identity
from node.memory.batch import check_entries
from node.memory.config import MemorySpec
from simulator.attacks import MEMORY_ATTACKS, make_attack
from simulator.attacks.memories import _MemoryAttack
from workloads.api import Entries

SPEC = MemorySpec(key_dims=5, payload_bytes=1)
PEERS = [Identity(bytes([index]) * 32).peer_id for index in range(2)]


def made(name: str, peer: int = 0, scale: float = 1.0) -> _MemoryAttack:
    attack = make_attack(name, scale=scale, seed=3)
    assert isinstance(attack, _MemoryAttack)
    attack.own = PEERS[peer]
    return attack


def honest(count: int) -> Entries:
    rng = np.random.default_rng(count)
    keys = rng.integers(-127, 128, (count, 5)).astype(np.int8)
    payload = rng.integers(0, 9, (count, 1)).astype(np.uint8)
    return Entries(keys, rng.normal(size=count).astype(np.float32), payload)


@pytest.mark.parametrize("name", MEMORY_ATTACKS)
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


@pytest.mark.parametrize("name", MEMORY_ATTACKS)
def test_an_attack_on_memory_repeats_from_its_seed_and_differs_from_peer_to_peer(name: str) -> None:
    first, again, other = made(name), made(name), made(name, peer=1)
    one, two, three = (attack._shares(honest(30)) for attack in (first, again, other))
    assert np.array_equal(one.keys, two.keys)
    assert np.array_equal(one.keys, three.keys) == (name == "inflate_memory")
