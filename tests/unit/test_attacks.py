"""What each attack of ``--attack NAME[:SCALE]`` does to an honest node."""

import math
from importlib.metadata import entry_points

import numpy as np
import pytest

from node.cli.attacks import load_attack
from node.errors import ConfigError, Malformed
from node.exchange.codecs import CODECS
from node.identity import Identity
from node.ports import Behaviour, FloatVector
from simulator import attacks

NAMES = ["garbage", "gaussian", "huge", "nan", "sign_flip", "silent", "stale", "zero"]
KINDS = [
    "commit",
    "have",
    "list",
    "scatter",
    "screen",
    "plan",
    "result",
    "propose",
    "prepare",
    "vote",
    "spread",
    "lock",
    "certificate",
]
VALUES = ["gaussian", "huge", "nan", "sign_flip", "stale", "zero"]
"""Attacks that change no bytes on their way."""


def make(name: str, scale: float = 1.0, seed: int = 7) -> Behaviour:
    behaviour: Behaviour = getattr(attacks, name)(scale=scale, seed=seed)
    return behaviour


def honest(round_: int = 1, d: int = 1000) -> FloatVector:
    return np.random.default_rng(round_).normal(0, 0.01, d).astype(np.float32)


def test_the_installed_attacks_are_those_of_this_package() -> None:
    points = {p.name: p.value for p in entry_points(group="artel.attacks")}
    mine = {n for n, value in points.items() if value.startswith("simulator.")}
    assert mine == set(NAMES) == set(attacks.__all__)
    peer = Identity(bytes(32)).peer_id
    for name in NAMES:
        load_attack(f"{name}:2", peer)


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_changes_no_honest_value_in_place(name: str) -> None:
    behaviour, update, parts = make(name), honest(), [b"part", b"other"]
    changed = behaviour.update(1, update)
    sent = behaviour.parts(1, parts)
    np.testing.assert_array_equal(update, honest())
    assert parts == [b"part", b"other"]
    assert (changed.shape, changed.dtype) == (update.shape, update.dtype)
    assert changed.flags.c_contiguous
    assert [len(p) for p in sent] == [4, 5]


@pytest.mark.parametrize("name", VALUES)
def test_an_attack_on_values_sends_what_it_committed_to(name: str) -> None:
    behaviour = make(name)
    assert behaviour.parts(1, [b"part"]) == [b"part"]
    assert [behaviour.sends(1, kind, b"bytes") for kind in KINDS] == [b"bytes"] * len(KINDS)


@pytest.mark.parametrize("name", ["garbage", "silent"])
def test_an_attack_on_messages_computes_honestly(name: str) -> None:
    np.testing.assert_array_equal(make(name).update(1, honest()), honest())


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_repeats_from_its_seed(name: str) -> None:
    one, two = make(name), make(name)
    for round_ in (3, 4):
        np.testing.assert_array_equal(
            one.update(round_, honest(round_)), two.update(round_, honest(round_))
        )
        assert one.parts(round_, [bytes(40)]) == two.parts(round_, [bytes(40)])


@pytest.mark.parametrize("name", ["gaussian", "garbage"])
def test_a_random_attack_differs_between_seeds_and_between_rounds(name: str) -> None:
    def outcome(seed: int, round_: int) -> bytes:
        behaviour = make(name, seed=seed)
        parts = behaviour.parts(round_, [bytes(40)])
        return behaviour.update(round_, honest()).tobytes() + b"".join(parts)

    assert len({outcome(1, 1), outcome(2, 1), outcome(1, 2)}) == 3


def test_sign_flip_reverses_and_scales() -> None:
    np.testing.assert_array_equal(
        make("sign_flip", 10).update(1, honest()), honest() * np.float32(-10)
    )


def test_gaussian_is_noise_of_the_scaled_length_of_the_update() -> None:
    update = honest(d=100_000)
    noise = make("gaussian", 5).update(1, update).astype(np.float64)
    rms = math.sqrt(np.mean(update.astype(np.float64) ** 2))
    assert noise.std() == pytest.approx(5 * rms, rel=0.02)
    assert abs(noise.mean()) < 0.1 * rms
    assert abs(np.corrcoef(noise, update)[0, 1]) < 0.02


def test_zero_and_nan_are_that_everywhere() -> None:
    assert not make("zero").update(1, honest()).any()
    assert np.isnan(make("nan").update(1, honest())).all()


def test_huge_is_finite_but_the_sum_of_two_is_not() -> None:
    sent = make("huge").update(1, honest())
    assert np.isfinite(sent).all()
    np.testing.assert_array_equal(np.sign(sent), -np.sign(honest()))
    with np.errstate(over="ignore"):
        assert np.isinf(sent + sent).all()


def test_stale_replays_its_first_update_even_if_its_replay_is_changed() -> None:
    behaviour = make("stale")
    first = behaviour.update(5, honest(5))
    first[:] = 0
    for round_ in (6, 7):
        np.testing.assert_array_equal(behaviour.update(round_, honest(round_)), honest(5))


def test_garbage_is_other_bytes_of_the_same_length_and_the_same_for_every_peer() -> None:
    parts = [bytes(100), bytes(7)]
    behaviour = make("garbage")
    sent = behaviour.parts(1, parts)
    assert [len(p) for p in sent] == [100, 7]
    assert all(a != b for a, b in zip(sent, parts, strict=True))
    assert behaviour.parts(1, parts) == sent


def test_silent_sends_nothing_of_any_kind() -> None:
    assert [make("silent").sends(1, kind, b"bytes") for kind in KINDS] == [None] * len(KINDS)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_no_codec_lets_nan_through(codec: str) -> None:
    encoded = CODECS[codec].encode(make("nan").update(1, honest()))
    with pytest.raises(Malformed):
        CODECS[codec].decode(encoded, 1000)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_every_codec_decodes_huge_to_finite_values(codec: str) -> None:
    sent = make("huge").update(1, honest())
    decoded = CODECS[codec].decode(CODECS[codec].encode(sent), 1000)
    assert np.isfinite(decoded).all()
    np.testing.assert_allclose(decoded, sent, rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf])
def test_a_scale_that_means_nothing_is_refused(name: str, scale: float) -> None:
    with pytest.raises(ConfigError, match=f"attack {name} is .*at least 0"):
        make(name, scale)
