"""Codecs: exact sizes, bounded error, one encoding, and refusal of everything else."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import ConfigError, Malformed
from node.exchange.codecs import CODECS, Codec, codec
from node.exchange.feedback import compensate, residual_after
from node.exchange.partition import PART_BYTES, part_slices

ALL = pytest.mark.parametrize("each", CODECS.values(), ids=CODECS)
# Largest error relative to the block's largest magnitude: half a step.
STEP = {"fp32": 0.0, "fp16": 2.0**-11, "int8": 0.5001 / 127}
SIZES = (1, 2, 255, 256, 257, 4095, 4096, 4097, 32768, 33000, 70001)


def vector(d: int, scale: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(d) * scale).astype(np.float32)


@ALL
@pytest.mark.parametrize("d", SIZES)
def test_error_is_at_most_half_a_step_of_the_block(each: Codec, d: int) -> None:
    for scale in (1e-25, 1e-3, 1.0, 1e30):
        x = vector(d, scale, d)
        data = each.encode(x)
        assert len(data) == each.encoded_bytes(d)
        decoded = each.decode(data, d)
        size = each.align if each.align > 1 else 1000
        for start in range(0, d, size):
            block = slice(start, start + size)
            error = np.abs(decoded[block] - x[block].astype(np.float64)).max()
            assert error <= STEP[each.name] * np.abs(x[block]).max()


@ALL
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_finite_vector_decodes_to_itself_again_or_is_refused(
    each: Codec, values: list[float]
) -> None:
    x = np.array(values, np.float32)
    try:
        decoded = each.decode(each.encode(x), len(x))
    except Malformed:
        assert np.abs(x).max() > 1e38
        return
    assert np.isfinite(decoded).all()
    assert not np.signbit(decoded[decoded == 0]).any()
    tiny = 2.0**-126
    assert (np.abs(decoded[decoded != 0]) >= tiny).all()
    limit = STEP[each.name] * float(np.abs(x).max())
    # A block below the codec's least scale is null.
    floor = {"fp32": tiny, "fp16": 2.0**-97, "int8": 127 * tiny}[each.name]
    assert np.abs(decoded - x.astype(np.float64)).max() <= max(limit, floor)


@ALL
def test_a_cut_at_the_alignment_changes_no_value(each: Codec) -> None:
    x = vector(70_001, 1e-3)
    whole = each.decode(each.encode(x), len(x))
    parts = part_slices(len(x), 5, 5 * PART_BYTES, align=each.align)
    joined = [each.decode(each.encode(x[p].copy()), p.stop - p.start) for p in parts]
    assert np.array_equal(np.concatenate(joined), whole)


@ALL
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_encode_and_are_refused(each: Codec, bad: float) -> None:
    for d in (1, 300, 5000):
        x = vector(d, 1.0)
        x[d // 2] = bad
        with pytest.raises(Malformed):
            each.decode(each.encode(x), d)
    all_bits = np.full(5, 0xFFFFFFFF, np.uint32).view(np.float32)
    with pytest.raises(Malformed):
        each.decode(each.encode(all_bits), 5)


@ALL
def test_a_wrong_length_is_refused(each: Codec) -> None:
    data = each.encode(vector(1000, 1.0))
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(Malformed):
            each.decode(wrong, 1000)


@ALL
def test_random_bytes_decode_canonically_or_are_refused(each: Codec) -> None:
    rng = np.random.default_rng(7)
    for d in (1, 3, 300):
        for _ in range(300):
            data = rng.bytes(each.encoded_bytes(d))
            try:
                decoded = each.decode(data, d)
            except Malformed:
                continue
            assert np.isfinite(decoded).all()


@ALL
def test_a_decoder_reads_an_unaligned_view(each: Codec) -> None:
    x = vector(5000, 1.0)
    data = each.encode(x)
    view = memoryview(b"x" + data)[1:]
    assert np.array_equal(each.decode(view, 5000), each.decode(data, 5000))


@ALL
def test_encoding_leaves_its_input_alone(each: Codec) -> None:
    x = vector(5000, 1e-30)
    x[:2] = -0.0, 1e-42
    before = x.tobytes()
    each.encode(x)
    assert x.tobytes() == before


def test_fp32_flushes_subnormals_and_negative_zero() -> None:
    data = struct.pack("<4f", 1e-42, -1e-42, -0.0, 1.5)
    assert codec("fp32").decode(data, 4).tobytes() == struct.pack("<4f", 0, 0, 0, 1.5)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<hHH", 0, 0x7800, 0),  # 2^15: belongs to the next exponent
        struct.pack("<hHH", 0, 0x73FF, 0),  # below 2^14: belongs to a lower exponent
        struct.pack("<hHH", 0, 0x7400, 0x8000),  # negative zero
        struct.pack("<hHH", 0, 0x7400, 0x0001),  # half-precision subnormal
        struct.pack("<hHH", 0, 0x7C00, 0),  # infinity
        struct.pack("<hHH", 1, 0, 0),  # a null block with an exponent
        struct.pack("<hHH", 114, 0x7400, 0),
        struct.pack("<hHH", -113, 0x7400, 0),
    ],
)
def test_fp16_refuses_what_its_encoder_does_not_write(data: bytes) -> None:
    with pytest.raises(Malformed):
        codec("fp16").decode(data, 2)


def test_fp16_reaches_both_ends_of_its_exponents() -> None:
    for exponent in (-112, 113):
        decoded = codec("fp16").decode(struct.pack("<hHH", exponent, 0x7400, 0xF400), 2)
        assert decoded.tolist() == [2.0 ** (14 + exponent), -(2.0 ** (14 + exponent))]


def test_fp16_keeps_updates_far_below_the_range_of_halves() -> None:
    x = vector(4096, 1e-12)
    decoded = codec("fp16").decode(codec("fp16").encode(x), 4096)
    assert np.abs(decoded - x).max() <= 2.0**-11 * np.abs(x).max()


@pytest.mark.parametrize(
    ("scale", "steps"),
    [
        (1.0, (-128, 0)),
        (1.0, (126, 0)),  # halved values: the encoder would have reached 127
        (0.0, (1, 0)),
        (-1.0, (127, 0)),
        (-0.0, (0, 0)),
        (float("nan"), (127, 0)),
        (float("inf"), (127, 0)),
        (1e-42, (127, 0)),
        (3e38, (127, 0)),
    ],
)
def test_int8_refuses_what_its_encoder_does_not_write(scale: float, steps: tuple[int, int]) -> None:
    with pytest.raises(Malformed):
        codec("int8").decode(struct.pack("<f2b", scale, *steps), 2)


def test_an_unknown_codec_names_the_choices() -> None:
    with pytest.raises(ConfigError, match="fp16"):
        codec("gzip")


@given(st.integers(0, 50), st.sampled_from(sorted(CODECS)))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_feedback_loses_nothing_over_rounds(seed: int, name: str) -> None:
    each = codec(name)
    residual = np.zeros(600, np.float32)
    sent = np.zeros(600)
    wanted = np.zeros(600)
    for round_ in range(6):
        update = vector(600, 1e-2, seed * 10 + round_)
        x = compensate(update, residual)
        decoded = each.decode(each.encode(x), len(x))
        residual = residual_after(x, decoded)
        sent += decoded
        wanted += update
    assert np.abs(sent + residual - wanted).max() < 1e-7


@given(
    st.integers(1, 3_000_000), st.integers(1, 64), st.integers(0, 1 << 24),
    st.sampled_from([1, 256, 4096]),
)  # fmt: skip
@settings(max_examples=200, deadline=None, derandomize=True)
def test_parts_cover_everything_once_in_nearly_equal_blocks(
    d: int, n: int, size: int, align: int
) -> None:
    parts = part_slices(d, n, size, align=align)
    blocks = -(-d // align)
    assert len(parts) == max(1, min(n, -(-size // PART_BYTES), blocks))
    assert parts[0].start == 0
    assert parts[-1].stop == d
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert all(p.start % align == 0 and p.start < p.stop for p in parts)
    sizes = [-(-(p.stop - p.start) // align) for p in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_vector_without_coordinates_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="cannot cut"):
        part_slices(0, 4, 100, align=1)
