"""Codecs, Gram matrices, rules and states under hostile bytes: refused, or finite and bounded."""

import json
from typing import Any

import numpy as np
import pytest

from node.errors import Malformed
from node.exchange.codecs import CODECS
from node.exchange.gram import assemble_gram
from node.exchange.reduction import Resolution, resolve, unpack_gram
from node.exchange.rules import RULES
from node.merkle import root
from node.state.outer import OuterState
from node.state.snapshot import (
    FILE_HEADER_BYTES_MAX,
    assemble,
    chunk,
    chunk_count,
    chunk_hash,
    chunk_hashes,
    from_safetensors,
    state_root,
    to_safetensors,
)
from node.wire.limits import EXPONENT_MAX, EXPONENT_MIN
from node.wire.messages import PartScreen

SHAPES = (("w", (3, 5)), ("b", (2,)))
WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7F80, 0xFF80, 0x7FC0, 0x0080, 0x8000, 0x7BFF, 0x0400, 0xFC00)


def hostile_bytes(size: int, valid: bytes, c: Any, fuzz: Any) -> bytes:
    """Bytes of about ``size``: noise, odd words in a row, or a valid encoding with changes."""
    how = c.pick(6)
    if how == 0:
        return bytes(c.bytes(size + c.pick(3) - 1))
    if how == 1:
        return (c.of(WORDS).to_bytes(2, "little") * size)[:size]
    if how == 2:
        return bytes(fuzz.mangled(valid, c))
    data = bytearray(valid)
    for _ in range(c.pick(4)):
        at = c.pick(max(1, len(data) - 1))
        data[at : at + 2] = c.of(WORDS).to_bytes(2, c.of(("little", "big")))
    return bytes(data[:size])


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_codec_decodes_hostile_bytes_to_finite_numbers_or_refuses(name: str, fuzz: Any) -> None:
    codec = CODECS[name]
    accepted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal accepted
        d = c.of((1, 2, 7, 255, 256, 257, 600, 4096, 4097))
        rng = np.random.default_rng(c.pick(1 << 16))
        x = np.ldexp(rng.standard_normal(d), c.pick(250) - 125).astype(np.float32)
        valid = codec.encode(x)
        if c.pick(16) == 0:
            d += 1
        data = noise if c.pick(16) == 0 else hostile_bytes(len(valid), valid, c, fuzz)
        found = fuzz.refuses(lambda: codec.decode(data, d), 8 * d)
        if found is not None:
            accepted += 1
            assert found.shape == (d,)
            assert np.isfinite(found).all()

    fuzz.run(0.03, case)
    assert accepted > 0


ODD_CELLS = (0, 1, -1, 2**43, -(2**43), 2**62, 2**63 - 1, -(2**63))


def hostile_gram(n: int, c: Any) -> bytes:
    cells = [c.of(ODD_CELLS) if c.pick(2) else c.pick(1 << 16) for _ in range(n * (n + 1) // 2)]
    return np.array(cells, "<i8").tobytes()


def test_every_rule_gives_usable_weights_for_any_gram_matrix(fuzz: Any) -> None:
    def case(c: Any, noise: bytes) -> None:
        n, parts = 3 + c.pick(6), 1 + c.pick(3)
        low, high = c.of(((EXPONENT_MIN, EXPONENT_MAX), (-20, -20), (EXPONENT_MAX, EXPONENT_MAX)))
        grams = [
            (
                unpack_gram(hostile_gram(n, c), n),
                [low + c.pick(high - low + 1) for _ in range(n)],
            )
            for _ in range(parts)
        ]
        whole = fuzz.refuses(lambda: assemble_gram(grams), 0)
        rows = [np.full(4, 3e38, np.float32) for _ in range(n)]
        for rule in RULES.values():
            for f in range(3):
                if rule.kind != "coordinates" and n >= rule.m_min(f):
                    mixture = rule.mixture(whole, f, noise)
                    assert np.isfinite(rule.combine(rows, f, mixture)).all()

    fuzz.run(0.03, case)


def test_exponents_and_shapes_that_no_row_has_are_refused() -> None:
    gram = np.ones((2, 2), np.int64)
    for exponents in ([0, EXPONENT_MAX + 1], [EXPONENT_MIN - 1, 0], [0], [0, 0, 0]):
        with pytest.raises(Malformed):
            assemble_gram([(gram, exponents)])


def test_screens_of_liars_resolve_to_the_same_plan_or_to_none(fuzz: Any) -> None:
    def screen(part: int, listed: tuple[int, ...], c: Any) -> PartScreen:
        rows = tuple(e for e in listed if c.pick(4))
        reason = c.of(("missing", "bad_leaf"))
        complaints = tuple((e, reason) for e in listed if e not in rows)
        gram = hostile_gram(len(rows), c) if c.pick(2) else bytes(4 * len(rows) * (len(rows) + 1))
        return PartScreen(part, rows, gram, complaints)

    def case(c: Any, noise: bytes) -> None:
        n, parts = 4 + c.pick(4), 1 + c.pick(3)
        f = (n - 1) // 3
        listed = tuple(e for e in range(n) if c.pick(5))
        orders = [tuple((e + p) % n for e in range(n)) for p in range(parts)]
        screens = {
            e: {p: screen(p, listed, c) for p in range(parts) if c.pick(4)}
            for e in range(n)
            if c.pick(5)
        }
        found: Resolution | None
        found, lacking = resolve(listed, screens, orders, 1 + c.pick(n), f + 1, f, noise)
        again, _ = resolve(listed, dict(reversed(screens.items())), orders, n, f + 1, f, noise)
        assert (found is None) == bool(lacking)
        for each in (found, again):
            if each is not None:
                refused = [e for e, _ in each.refused]
                assert sorted((*each.contributors, *refused)) == list(listed)
                assert all(len(reducers) >= f + 1 for reducers in each.reducers)

    fuzz.run(0.03, case)


def state() -> OuterState:
    return OuterState(np.arange(17, dtype=np.float32), np.ones(17, np.float32))


def test_a_state_of_hostile_chunks_is_refused_or_whole(fuzz: Any) -> None:
    valid = state()
    count = chunk_count(SHAPES, momentum=True)
    chunks = [chunk(valid, SHAPES, k) for k in range(count)]
    hashes = list(chunk_hashes(valid, SHAPES))
    wanted = state_root(valid, SHAPES)

    def case(c: Any, noise: bytes) -> None:
        sent, told, root_ = list(chunks), list(hashes), wanted
        for _ in range(c.pick(3)):
            at = c.pick(count)
            sent[at] = noise if c.pick(3) == 0 else fuzz.mangled(sent[at], c)
            if c.pick(2):
                told[at] = chunk_hash(sent[at])
        if c.pick(8) == 0:
            told[c.pick(count)] = noise
        if c.pick(2) and all(len(h) == 32 for h in told):
            root_ = root(told)
        if c.pick(8) == 0:
            sent.pop()
        momentum = bool(c.pick(6))
        found = fuzz.refuses(lambda: assemble(sent, told, root_, SHAPES, momentum=momentum), 0)
        if found is not None:
            assert found.params.shape == (17,)
            assert found.momentum.shape == (17,)

    fuzz.run(0.03, case)


def hostile_file(c: Any, fuzz: Any) -> bytes:
    valid = to_safetensors(state(), SHAPES, {"job": "x"})
    if c.pick(4) == 0:
        return bytes(fuzz.mangled(valid, c))
    length = int.from_bytes(valid[:8], "little")
    header = json.loads(valid[8 : 8 + length])
    odd = (None, -1, 0, 2**40, 2**70, 1.5, "w", "F64", [], {}, [[1]], [["w", [-1]]], "[" * 5000)
    for _ in range(c.pick(3)):
        name = c.of(sorted(header))
        how = c.pick(4)
        if how == 0:
            del header[name]
            break
        if how == 1:
            header[name] = c.of(odd)
            break
        key = c.of(sorted(header[name]))
        value = header[name][key]
        if key == "artel.shapes" and c.pick(4):
            value = json.dumps(c.of(odd))
        header[name][key] = value if c.pick(8) == 0 else c.of((*odd, value))
    text = json.dumps(header).encode()
    size = len(text) if c.pick(8) else c.of((0, 1, 2**20 + 1, 2**63, 2**64 - 1))
    return size.to_bytes(8, "little") + text + valid[8 + length :]


def test_a_state_file_of_anybody_is_refused_or_finite(fuzz: Any) -> None:
    accepted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal accepted
        data = noise if c.pick(16) == 0 else hostile_file(c, fuzz)
        found = fuzz.refuses(lambda: from_safetensors(data), FILE_HEADER_BYTES_MAX)
        if found is not None:
            accepted += 1
            assert np.isfinite(found[0].params).all()
            to_safetensors(found[0], found[1], found[2])

    fuzz.run(0.04, case)
    assert accepted > 0
