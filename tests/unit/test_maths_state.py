"""The outer step and the snapshot: naive equality, roots that bind, hostile files refused."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed, TooLarge
from node.state.outer import OuterState, outer_step
from node.state.snapshot import (
    CHUNK_BYTES,
    assemble,
    chunk,
    chunk_count,
    chunk_hash,
    chunk_hashes,
    from_safetensors,
    state_root,
    to_safetensors,
)

SHAPES = (("layer.weight", (300, 401)), ("layer.bias", (401,)), ("gain", ()))
D = 300 * 401 + 401 + 1


def state(*, momentum: bool = True, seed: int = 0) -> OuterState:
    rng = np.random.default_rng(seed)
    params = rng.standard_normal(D).astype(np.float32)
    return OuterState(params, rng.standard_normal(D).astype(np.float32) if momentum else None)


@given(st.floats(0.01, 2.0), st.sampled_from([0.0, 0.5, 0.9]), st.booleans())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_step_equals_the_textbook(lr: float, momentum: float, nesterov: bool) -> None:
    before = state(momentum=momentum > 0)
    update = np.random.default_rng(1).standard_normal(D).astype(np.float32)
    after = outer_step(before, update, lr, momentum, nesterov)
    velocity = update.astype(np.float64)
    if before.momentum is not None:
        velocity = velocity + momentum * before.momentum
        assert after.momentum is not None
        assert np.allclose(after.momentum, velocity, rtol=0, atol=2e-6)
    else:
        assert after.momentum is None
    step = update + momentum * velocity if nesterov and momentum else velocity
    assert np.allclose(after.params, before.params - lr * step, rtol=0, atol=1e-5)


def test_the_step_leaves_its_inputs_alone() -> None:
    before, update = state(), state(seed=3).params
    copies = [x.tobytes() for x in (before.params, before.momentum, update) if x is not None]
    outer_step(before, update, 0.7, 0.9, True)
    assert [
        x.tobytes() for x in (before.params, before.momentum, update) if x is not None
    ] == copies


@pytest.mark.parametrize("nesterov", [True, False])
def test_huge_updates_never_make_the_state_infinite(nesterov: bool) -> None:
    current = OuterState(np.ones(4, np.float32), np.zeros(4, np.float32))
    huge = np.array([3.4e38, -3.4e38, 0, 1], np.float32)
    for _ in range(30):
        current = outer_step(current, huge, 100.0, 0.99, nesterov)
        huge = -huge
        assert current.momentum is not None
        assert np.isfinite(current.params).all()
        assert np.isfinite(current.momentum).all()


def test_a_step_that_does_not_fit_its_state_is_refused() -> None:
    one = np.ones(3, np.float32)
    for current, update, lr, momentum in (
        (OuterState(one, None), one, 1.0, 0.9),
        (OuterState(one, one), one, 1.0, 0.0),
        (OuterState(one, None), one[:2], 1.0, 0.0),
        (OuterState(one, one), one, float("nan"), 0.9),
        (OuterState(one, one), one, 1.0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"step|momentum|shape"):
            outer_step(current, update, lr, momentum, False)


@pytest.mark.parametrize("momentum", [True, False])
def test_chunks_from_anywhere_assemble_to_the_same_state(momentum: bool) -> None:
    source = state(momentum=momentum)
    hashes, top = chunk_hashes(source, SHAPES), state_root(source, SHAPES)
    count = chunk_count(SHAPES, momentum=momentum)
    chunks = [chunk(source, SHAPES, k) for k in range(count)]
    assert count == len(hashes) == 1 + (1 + momentum) * -(-4 * D // CHUNK_BYTES)
    assert [chunk_hash(data) for data in chunks] == list(hashes)
    got = assemble(chunks, hashes, top, SHAPES, momentum=momentum)
    assert got.params.tobytes() == source.params.tobytes()
    assert (got.momentum is None) == (not momentum)
    if got.momentum is not None and source.momentum is not None:
        assert got.momentum.tobytes() == source.momentum.tobytes()
    assert state_root(got, SHAPES) == top
    assert outer_step(got, source.params, 1.0, 0.9 * momentum, True)
    with pytest.raises(IndexError):
        chunk(source, SHAPES, count)


def test_every_bit_of_the_state_and_its_shapes_is_in_the_root() -> None:
    source = state()
    assert source.momentum is not None
    roots = {state_root(source, SHAPES), state_root(OuterState(source.params, None), SHAPES)}
    for section in (0, 1):
        for index in (0, D // 2, D - 1):
            both = [source.params.copy(), source.momentum.copy()]
            both[section].view(np.uint32)[index] ^= 1
            roots.add(state_root(OuterState(both[0], both[1]), SHAPES))
    roots.add(state_root(source, (("layer.weight", (401, 300)), *SHAPES[1:])))
    roots.add(state_root(source, (("layer.other", (300, 401)), *SHAPES[1:])))
    assert len(roots) == 10


def test_wrong_chunks_hashes_roots_and_shapes_are_refused() -> None:
    source = state()
    hashes, top = chunk_hashes(source, SHAPES), state_root(source, SHAPES)
    chunks = [chunk(source, SHAPES, k) for k in range(len(hashes))]
    flipped = bytes([chunks[1][0] ^ 1]) + chunks[1][1:]
    other = state_root(state(seed=9), SHAPES)
    for wrong_chunks, wrong_hashes, wrong_root in (
        ([chunks[0], flipped, *chunks[2:]], hashes, top),
        (chunks[:-1], hashes, top),
        (chunks, hashes[:-1], top),
        (chunks, (hashes[1], hashes[0], *hashes[2:]), top),
        (chunks, hashes, other),
    ):
        with pytest.raises(Malformed):
            assemble(wrong_chunks, wrong_hashes, wrong_root, SHAPES, momentum=True)
    with pytest.raises(Malformed, match="shapes"):
        assemble(chunks, hashes, top, (("x", (300, 401)), *SHAPES[1:]), momentum=True)
    with pytest.raises(ValueError, match="shapes"):
        state_root(source, SHAPES[:1])


@pytest.mark.parametrize("momentum", [True, False])
def test_a_file_gives_back_state_shapes_and_metadata(momentum: bool) -> None:
    source = state(momentum=momentum)
    data = to_safetensors(source, SHAPES, {"job": "abc", "round": "7"})
    got, shapes, metadata = from_safetensors(data)
    assert (shapes, metadata) == (SHAPES, {"job": "abc", "round": "7"})
    assert state_root(got, shapes) == state_root(source, SHAPES)
    # The format's own library reads it too.
    tensors = safetensors.numpy.load(data)
    assert tensors["params.layer.weight"].shape == (300, 401)
    assert tensors["params.gain"] == source.params[-1]


def header(data: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rebuilt(parsed: dict[str, object], body: bytes) -> bytes:
    text = json.dumps(parsed).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_files_that_are_not_a_state_are_refused() -> None:
    small = (("w", (2, 2)),)
    data = to_safetensors(OuterState(np.ones(4, np.float32), None), small, {})
    parsed, body = header(data)
    nested = b"[" * 100_000
    meta = json.dumps([["w", [2**40, 2**40]]])
    bad = [
        b"",
        data[:-1],
        data[:20],
        struct.pack("<Q", 1 << 62) + data[8:],
        struct.pack("<Q", len(nested)) + nested,
        rebuilt({"w": parsed["params.w"]}, body),
        rebuilt(parsed | {"__metadata__": {"artel.shapes": meta}}, body),
        rebuilt(parsed | {"__metadata__": {"artel.shapes": '[["w", 3]]'}}, body),
        rebuilt(parsed | {"__metadata__": {"artel.shapes": '[["w", [4]]]'}}, body),
        rebuilt(parsed | {"__metadata__": {"artel.shapes": '[["w", [2, 2]], ["w", [0]]]'}}, body),
        rebuilt(
            {**parsed, "params.w": {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]}}, body
        ),
        rebuilt(parsed, np.full(4, np.nan, np.float32).tobytes()),
    ]
    for each in bad:
        with pytest.raises((Malformed, TooLarge)):
            from_safetensors(each)
    with pytest.raises(TooLarge):
        from_safetensors(data, bytes_max=len(data) - 1)


@given(st.binary(max_size=60), st.integers(0, 400))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_damaged_file_is_refused_or_is_a_state(noise: bytes, at: int) -> None:
    data = to_safetensors(OuterState(np.ones(4, np.float32), None), (("w", (2, 2)),), {"a": "b"})
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        got, shapes, _ = from_safetensors(damaged)
    except (Malformed, TooLarge):
        return
    assert len(state_root(got, shapes)) == 32
