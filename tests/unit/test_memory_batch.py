"""Batches: what is signed, what is refused, and whose fault it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import BadSignature, ConfigError, Malformed, PeerError, TooLarge
from node.identity import Identity, public_key_of, verify
from node.ledger.forks import check_fork, contradict
from node.memory.batch import (
    ContentError,
    Entries,
    check_batch,
    check_entries,
    entries_of,
    make_batch,
)
from node.memory.config import MemorySpec
from node.merkle import digest
from node.types import Digest, JobId
from node.wire import memory_pb2 as pb
from node.wire.convert import decode_commitment, encode_commitment
from node.wire.convert_memory import (
    decode_batch,
    decode_fork,
    decode_header,
    encode_batch,
    encode_fork,
    encode_header,
)
from node.wire.limits import BATCH_BODY_BYTES_MAX
from node.wire.memory_messages import ForkEvidence, KeyType, MemoryLine
from node.wire.messages import Commitment, PartCommitment
from simulator.host.signer import KeyedSigner
from simulator.memory_liar import chain_of, forged

JOB = JobId(digest("memory job", b"simulated"))
NAIT = MemorySpec(key_dims=242, payload_bytes=1)
RAC = MemorySpec(key_dims=1280, key_type=KeyType.FP16, payload_bytes=300, entries_per_author=5000)
SIGNER = Identity(bytes(range(32)))


def drawn(spec: MemorySpec, n: int, seed: int = 0) -> Entries:
    rng = np.random.default_rng(seed)
    keys: Any = rng.integers(-128, 128, (n, spec.key_dims), dtype=np.int8)
    if spec.key_type is KeyType.FP16:
        keys = rng.standard_normal((n, spec.key_dims)).astype(np.float16)
    payload = rng.integers(0, 256, (n, spec.payload_bytes), dtype=np.uint8)
    return Entries(keys, rng.standard_normal(n, dtype=np.float32), payload, 0.125)


@pytest.mark.parametrize("spec", [NAIT, RAC])
def test_entries_come_back_as_they_were_made(spec: MemorySpec) -> None:
    entries = drawn(spec, 100)
    check_entries(entries, spec)
    data = encode_batch(make_batch(entries, None, JOB, spec, SIGNER))
    batch = decode_batch(data)
    check_batch(batch, JOB, spec, verify)
    back = entries_of(batch)
    for name in ("keys", "values", "payload"):
        assert np.array_equal(getattr(back, name), getattr(entries, name))
        assert not getattr(back, name).flags.writeable
    assert back.values.flags.aligned
    assert np.array_equal(back.float_keys(), entries.float_keys())
    assert len(data) < len(batch.body) + 400


def test_a_batch_is_pinned_to_its_bytes() -> None:
    """A changed id is a changed protocol."""
    keys = (np.arange(3 * 242) % 251 - 125).astype(np.int8).reshape(3, 242)
    values, payload = np.array([0.5, -2, 3], np.float32), np.array([[1], [2], [3]], np.uint8)
    entries = Entries(keys, values, payload, 0.125)
    batch = make_batch(entries, None, JOB, NAIT, SIGNER)
    follower = make_batch(entries.part(0, 2), batch.signed, JOB, NAIT, SIGNER)
    assert (batch.signed.id.hex(), follower.signed.id.hex()) == (PINNED_FIRST, PINNED_NEXT)


PINNED_FIRST = "6b3080d54cdf7dbd959032c76d909b99fcb90e989d7423dec3b2416022a8cd40"
PINNED_NEXT = "95e2805e824b803927e3b691852ba5c54d4a3b4971875b54f65b6c9b1170b8b0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": np.zeros((3, 241), np.int8)},
        {"keys": np.zeros((3, 242), np.uint8)},
        {"values": np.zeros(3)},
        {"values": np.array([1, np.nan, 2], np.float32)},
        {"payload": np.zeros((3, 2), np.uint8)},
        {"key_scale": 0.0},
        {"key_scale": float("inf")},
    ],
)
def test_own_entries_are_checked_before_they_are_signed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keys|values|payload|scale"):
        check_entries(replace(drawn(NAIT, 3), **wrong), NAIT)


def test_a_signature_of_somebody_else_or_for_another_place_does_not_do() -> None:
    batch = make_batch(drawn(NAIT, 3), None, JOB, NAIT, SIGNER)
    other = Identity(bytes(32))
    for signature in (
        other.sign("batch", JOB, 0, batch.signed.raw),
        SIGNER.sign("batch", JOB, 1, batch.signed.raw),
        SIGNER.sign("record", JOB, 0, batch.signed.raw),
        SIGNER.sign("batch", b"", 0, batch.signed.raw),
    ):
        bad = replace(batch, signed=replace(batch.signed, signature=signature))
        with pytest.raises(BadSignature):
            check_batch(bad, JOB, NAIT, verify)
    with pytest.raises(BadSignature, match="another job"):
        check_batch(batch, JobId(bytes(32)), NAIT, verify)


def test_a_body_that_was_not_signed_is_the_senders_fault() -> None:
    batch = make_batch(drawn(NAIT, 3), None, JOB, NAIT, SIGNER)
    bad = replace(batch, body=batch.body[:-1] + bytes([batch.body[-1] ^ 1]))
    with pytest.raises(Malformed) as caught:
        check_batch(bad, JOB, NAIT, verify)
    assert not isinstance(caught.value, ContentError)


def test_signed_entries_of_another_form_are_the_authors_fault() -> None:
    for spec in (replace(NAIT, key_dims=241), replace(NAIT, payload_bytes=2)):
        batch = make_batch(drawn(spec, 3), None, JOB, spec, SIGNER)
        with pytest.raises(ContentError):
            check_batch(batch, JOB, NAIT, verify)
    half = MemorySpec(key_dims=4, key_type=KeyType.FP16)
    keys = np.array([[1, 2, np.inf, 3]], np.float16)
    batch = make_batch(
        Entries(keys, np.zeros(1, np.float32), np.zeros((1, 0), np.uint8)), None, JOB, half, SIGNER
    )
    with pytest.raises(ContentError, match="finite"):
        check_batch(batch, JOB, half, verify)


def header_changes(**changes: Any) -> bytes:
    (_, batch) = chain_of(KeyedSigner(SIGNER.public_key), NAIT, [3, 3])
    m = pb.BatchHeader.FromString(batch.signed.raw)
    for name, value in changes.items():
        setattr(m, name, value)
    return m.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"seq": 0}, Malformed),
        ({"seq": 2**48 + 1}, TooLarge),
        ({"prev": b""}, Malformed),
        ({"prev": bytes(31)}, Malformed),
        ({"entries": 0}, Malformed),
        ({"entries": 4097}, TooLarge),
        ({"key_dims": 0}, Malformed),
        ({"key_dims": 4097}, TooLarge),
        ({"entries": 4096, "key_dims": 4096}, TooLarge),
        ({"key_type": 0}, Malformed),
        ({"key_type": 3}, Malformed),
        ({"key_scale": 0}, Malformed),
        ({"key_scale": 0x7F800000}, Malformed),
        ({"key_scale": 0x80000001}, Malformed),
        ({"key_type": 2}, Malformed),
        ({"payload_bytes": 1025}, TooLarge),
        ({"first_entry": 2**48 + 1}, TooLarge),
        ({"first_entry": 0}, Malformed),
        ({"prev_first_entry": 3}, Malformed),
        ({"first_entry": 10_000}, Malformed),
        ({"author": bytes(31)}, Malformed),
        ({"job": b""}, Malformed),
        ({"body_hash": b""}, Malformed),
    ],
)
def test_a_header_out_of_range_is_refused(changes: dict[str, Any], error: type[PeerError]) -> None:
    with pytest.raises(error):
        decode_header(header_changes(**changes))


def test_one_meaning_has_one_id() -> None:
    raw = header_changes()
    assert encode_header(decode_header(raw)) == raw
    for other in (raw + b"\x98\x06\x01", b"\x18\x01" + raw):  # an unknown field; a field twice
        with pytest.raises(Malformed, match="encode to itself"):
            decode_header(other)


def test_a_full_batch_fits_its_limit() -> None:
    for spec in (NAIT, RAC, MemorySpec(key_dims=1), MemorySpec(key_dims=4096, payload_bytes=1024)):
        n = spec.entries_per_batch
        batch = make_batch(drawn(spec, n), None, JOB, spec, SIGNER)
        assert len(batch.body) <= BATCH_BODY_BYTES_MAX
        assert decode_batch(encode_batch(batch)) == batch


def test_a_spec_that_cannot_work_is_the_operators_fault() -> None:
    for wrong in ({"key_dims": 0}, {"payload_bytes": 2000}, {"entries_per_author": 3}):
        with pytest.raises(ConfigError, match="memory"):
            MemorySpec(**({"key_dims": 8} | wrong))
    assert MemorySpec.shared(1000, 4, 8).entries_quota == 250
    assert replace(NAIT, bytes_per_author=247 * 100).entries_quota == 100


# Evidence ---------------------------------------------------------------------------------------

sizes = st.lists(st.integers(1, 5), min_size=2, max_size=8)


@settings(max_examples=100, deadline=None)
@given(sizes)
def test_an_honest_author_is_never_convicted(counts: list[int]) -> None:
    chain = [b.signed for b in chain_of(KeyedSigner(SIGNER.public_key), NAIT, counts)]
    assert not any(contradict(a, b) for a in chain for b in chain)


def test_what_convicts() -> None:
    signer = KeyedSigner(SIGNER.public_key)
    a, b, c, _ = chain_of(signer, NAIT, [3, 3, 3, 3])
    twin = chain_of(signer, NAIT, [3], 1.0)[0]
    skipped = forged(signer, b, first_entry=4)
    other_parent = forged(signer, b, prev=bytes(32))
    counted_down = forged(signer, c, first_entry=4, prev_first_entry=1)
    for one, other in ((a, twin), (a, skipped), (a, other_parent), (a, counted_down)):
        assert contradict(one.signed, other.signed)
        assert contradict(other.signed, one.signed)
    stranger = chain_of(KeyedSigner(bytes(32)), NAIT, [3], 1.0)[0]
    assert not contradict(a.signed, stranger.signed)


def test_evidence_is_checked_by_whoever_gets_it() -> None:
    one = make_batch(drawn(NAIT, 3, 1), None, JOB, NAIT, SIGNER).signed
    other = make_batch(drawn(NAIT, 3, 2), None, JOB, NAIT, SIGNER).signed
    proof = decode_fork(encode_fork(ForkEvidence(one, other)))
    check_fork(proof, JOB, verify)
    with pytest.raises(Malformed):
        check_fork(ForkEvidence(one, one), JOB, verify)
    with pytest.raises(BadSignature):
        check_fork(replace(proof, other=replace(other, signature=bytes(64))), JOB, verify)
    with pytest.raises(BadSignature):
        check_fork(proof, JobId(bytes(32)), verify)


def test_what_a_commitment_says_of_memory_is_checked_in_form() -> None:
    authors = sorted((Identity(bytes([i]) * 32).peer_id for i in range(3)), key=public_key_of)
    lines = (MemoryLine(authors[0], 1, 4, 40, bytes(32)), MemoryLine(authors[1], forked=True))

    def coded(*told: MemoryLine) -> tuple[MemoryLine, ...]:
        part = PartCommitment(Digest(bytes(32)), 1, 0)
        commitment = Commitment(Digest(bytes(32)), Digest(bytes(32)), (part,), 1, 0, memory=told)
        return decode_commitment(encode_commitment(commitment)).memory

    assert coded(*lines) == lines
    assert coded(*lines[::-1]) == lines
    with pytest.raises(Malformed):
        coded(lines[0], lines[0])
    for bad in (
        MemoryLine(authors[0], 4, 4, 40, bytes(32)),
        MemoryLine(authors[0], 0, 4, 3, bytes(32)),
        MemoryLine(authors[0], 0, 4, 40, b""),
        MemoryLine(authors[0], 0, 4, 40, bytes(32), forked=True),
        MemoryLine(authors[0], 0, 2**48 + 2, 2**48 + 2, bytes(32)),
    ):
        with pytest.raises(PeerError):
            coded(bad)
