"""The codec of frames and the queue of frames, without IO."""

import itertools
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.adapters import framing
from node.adapters.framing import HEADER, Assembler, Deframer, ErrorCode, Kind, Opening
from node.adapters.outbox import SMALL_IN_A_ROW, Outbox, Outgoing
from node.errors import Malformed, PeerError, TooLarge


def taken(outbox: Outbox) -> list[tuple[Kind, int, int]]:
    frames = iter(outbox.take, None)
    raw = b"".join(part for frame in frames for part in frame)
    return [(f.kind, f.call, len(f.payload)) for f in Deframer().feed(raw)]


@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(1, 200), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(bodies: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(HEADER.pack(len(b), Kind.REPLY, i) + b for i, b in enumerate(bodies))
    deframer, got, at = Deframer(), [], 0
    for size in itertools.cycle(cuts):
        if at >= len(raw):
            break
        got += [(f.call, bytes(f.payload)) for f in deframer.feed(raw[at : at + size])]
        at += size
    assert got == list(enumerate(bodies))


@given(st.binary(max_size=2000))
def test_hostile_bytes_raise_nothing_but_peer_errors(raw: bytes) -> None:
    view = memoryview(raw)
    for decode in (
        Deframer().feed,
        lambda _: framing.decode_opening(view),
        lambda _: framing.decode_error(view),
        lambda _: framing.decode_u32(view),
    ):
        try:
            decode(raw)
        except PeerError:
            continue


def test_a_frame_above_the_limit_is_refused_at_its_header() -> None:
    Deframer().feed(HEADER.pack(framing.FRAME_BYTES_MAX, Kind.MORE, 1))
    with pytest.raises(TooLarge):
        Deframer().feed(HEADER.pack(framing.FRAME_BYTES_MAX + 1, Kind.MORE, 1))
    with pytest.raises(Malformed):
        Deframer().feed(HEADER.pack(0, 99, 1))


@given(st.text(min_size=1, max_size=16), st.integers(0, 2**32 - 1), st.integers(0, 2**40))
def test_an_opening_survives_the_wire(method: str, size: int, limit: int) -> None:
    raw = framing.encode_opening(Opening(method, size, limit)) + b"body"
    opening, rest = framing.decode_opening(memoryview(raw))
    assert opening == Opening(method, size, min(limit, 2**32 - 1))
    assert bytes(rest) == b"body"


def test_an_error_text_is_cut_and_codes_are_checked() -> None:
    code, text = framing.decode_error(
        memoryview(framing.encode_error(ErrorCode.REFUSED, "x" * 10_000))
    )
    assert (code, len(text)) == (ErrorCode.REFUSED, framing.ERROR_TEXT_BYTES_MAX)
    with pytest.raises(Malformed):
        framing.decode_error(memoryview(b"\x00text"))


def test_parts_must_fill_their_message_and_not_exceed_it() -> None:
    part = bytes(framing.FRAME_BYTES_MIN)
    whole = Assembler(2 * len(part))
    assert whole.add(memoryview(part)) is None
    assert whole.add(memoryview(part)) == part * 2
    with pytest.raises(Malformed, match="declared"):
        Assembler(10).add(memoryview(bytes(11)))
    for late in (len(part) + 1, 2 * len(part)):  # beyond what is left, if not beyond the whole
        begun = Assembler(2 * len(part))
        begun.add(memoryview(part))
        with pytest.raises(Malformed, match="declared"):
            begun.add(memoryview(bytes(late)))
    with pytest.raises(Malformed, match="does not end"):
        Assembler(10_000).add(memoryview(b"drip"))


def test_kept_parts_hold_little_more_memory_than_their_bytes() -> None:
    part_bytes = 2 * framing.FRAME_BYTES_MIN
    whole = Assembler(64 * part_bytes)
    tracemalloc.start()
    try:
        for _ in range(63):
            received = memoryview(bytes(framing.FRAME_BYTES_MAX))
            whole.add(received[-part_bytes:])
        del received
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 63 * part_bytes <= held < 2 * 63 * part_bytes


def test_a_declared_size_reserves_no_memory() -> None:
    tracemalloc.start()
    try:
        kept = [Assembler(framing.MESSAGE_BYTES_MAX) for _ in range(10)]
        for assembler in kept:
            assembler.add(memoryview(bytes(framing.FRAME_BYTES_MIN)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024


@given(st.integers(1, 2**20), st.lists(st.integers(3_000, 300_000), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_large_message_survives_frames_and_any_cutting(size: int, cuts: list[int]) -> None:
    body = random.Random(size).randbytes(size)
    outbox = Outbox()
    outbox.put(Outgoing(Kind.REPLY, 1, framing.encode_u32(size), body))
    raw = b"".join(part for frame in iter(outbox.take, None) for part in frame)
    deframer, assembler, whole, at = Deframer(), Assembler(size), None, 0
    for cut in itertools.cycle(cuts):
        if at >= len(raw):
            break
        for frame in deframer.feed(raw[at : at + cut]):
            payload = frame.payload
            if frame.kind is Kind.REPLY:
                declared, payload = framing.decode_u32(payload)
                assert declared == size
            assert whole is None
            whole = assembler.add(payload)
        at += cut
    assert type(whole) is bytes
    assert whole == body


def test_a_message_that_waits_alone_goes_in_the_longest_frames() -> None:
    outbox = Outbox()
    outbox.put(Outgoing(Kind.CALL, 1, b"head", bytes(2 * framing.FRAME_BYTES_MAX - 4)))
    assert [size for _, _, size in taken(outbox)] == [framing.FRAME_BYTES_MAX] * 2


def test_a_small_message_overtakes_a_large_one_within_a_frame() -> None:
    outbox = Outbox()
    outbox.put(Outgoing(Kind.REPLY, 1, b"head", bytes(10 * framing.FRAME_BYTES_MAX)))
    outbox.take()
    outbox.put(Outgoing(Kind.REPLY, 2, b"head", b"vote"))
    assert taken(outbox)[0] == (Kind.REPLY, 2, 8)


def test_large_messages_take_turns_and_small_ones_do_not_starve_them() -> None:
    outbox = Outbox()
    for call in (1, 2):
        outbox.put(Outgoing(Kind.CALL, call, b"", bytes(2 * framing.FRAME_BYTES_SENT)))
    for call in range(100, 100 + SMALL_IN_A_ROW + 2):
        outbox.put(Outgoing(Kind.REPLY, call, b"", b"x"))
    order = [call for _, call, _ in taken(outbox)]
    assert order[SMALL_IN_A_ROW] == 1
    assert [call for call in order if call < 100] == [1, 2, 1, 2]
    assert len(order) == SMALL_IN_A_ROW + 6


def test_a_dropped_message_sends_nothing_more() -> None:
    outbox = Outbox()
    message = Outgoing(Kind.CALL, 1, b"head", bytes(3 * framing.FRAME_BYTES_MAX))
    outbox.put(message)
    outbox.take()
    assert outbox.waiting_bytes == 2 * framing.FRAME_BYTES_MAX + 4
    message.drop()
    assert outbox.waiting_bytes == 0
    assert outbox.take() is None
