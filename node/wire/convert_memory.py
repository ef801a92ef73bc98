"""Bytes <-> messages of shared memory. See ``convert`` for the rules.

A header's bytes are its identity. They must decode and encode to themselves, so that one meaning
has one id (docs/protocol.md, "Shared memory").
"""

import math
import struct
from collections.abc import Sequence
from itertools import pairwise

from node.errors import Malformed, TooLarge
from node.identity import peer_id_of, public_key_of
from node.merkle import digest as hash_of
from node.types import SIGNATURE_BYTES, JobId
from node.wire import memory_pb2 as pb
from node.wire.convert_ledger import digest, parse
from node.wire.limits import (
    AUTHORS_MAX,
    BATCH_BODY_BYTES_MAX,
    BATCH_BYTES_MAX,
    BATCH_ENTRIES_MAX,
    BATCH_HEADER_BYTES_MAX,
    BATCHES_REQUEST_BYTES_MAX,
    ENTRY_PAYLOAD_BYTES_MAX,
    KEY_DIMS_MAX,
    MEMORY_LINES_BYTES_MAX,
    MEMORY_REPLY_BYTES_MAX,
    PULL_BYTES_MAX,
    QUESTION_BYTES_MAX,
    QUESTION_REQUEST_BYTES_MAX,
    SEQ_MAX,
)
from node.wire.memory_messages import (
    Batch,
    BatchesRequest,
    BatchHeader,
    BatchWant,
    ForkEvidence,
    KeyType,
    MemoryLine,
    MemoryReply,
    MemoryRequest,
    Question,
    SignedHeader,
)

HEADER_DOMAIN = "memory batch"
_KEY_TYPES = frozenset(t.value for t in KeyType)
_EVIDENCE_BYTES_MAX = 2 * (BATCH_HEADER_BYTES_MAX + SIGNATURE_BYTES + 16)


def _within(value: int, least: int, most: int, what: str) -> int:
    if value > most:
        raise TooLarge(f"{what} {value} above {most}")
    if value < least:
        raise Malformed(f"{what} {value} below {least}")
    return value


def encode_header(h: BatchHeader) -> bytes:
    """The bytes that are signed."""
    return pb.BatchHeader(
        job=h.job,
        author=public_key_of(h.author),
        seq=h.seq,
        prev=h.prev,
        first_entry=h.first_entry,
        prev_first_entry=h.prev_first_entry,
        entries=h.entries,
        key_dims=h.key_dims,
        key_type=pb.KeyType.Name(h.key_type.value),
        key_scale=struct.unpack("<I", struct.pack("<f", h.key_scale))[0],
        payload_bytes=h.payload_bytes,
        body_hash=h.body_hash,
    ).SerializeToString(deterministic=True)


def decode_header(raw: bytes) -> BatchHeader:
    """Inverse of ``encode_header``, strict in form: ranges, and one spelling."""
    m = pb.BatchHeader()
    parse(m, raw, BATCH_HEADER_BYTES_MAX)
    if int(m.key_type) not in _KEY_TYPES:
        raise Malformed(f"key type {m.key_type}")
    key_type = KeyType(m.key_type)
    scale: float = struct.unpack("<f", struct.pack("<I", m.key_scale))[0]
    if key_type is KeyType.INT8 and not (math.isfinite(scale) and scale > 0):
        raise Malformed("the scale of int8 keys is finite and above 0")
    if key_type is KeyType.FP16 and m.key_scale:
        raise Malformed("fp16 keys have no scale")
    if m.seq == 0 and (m.prev or m.first_entry or m.prev_first_entry):
        raise Malformed("a first batch that follows another")
    header = BatchHeader(
        job=JobId(digest(m.job, "job")),
        author=peer_id_of(m.author),
        seq=_within(m.seq, 0, SEQ_MAX, "seq"),
        prev=digest(m.prev, "prev") if m.seq else b"",
        first_entry=_within(m.first_entry, m.seq, SEQ_MAX, "first_entry"),
        prev_first_entry=m.prev_first_entry,
        entries=_within(m.entries, 1, BATCH_ENTRIES_MAX, "entries"),
        key_dims=_within(m.key_dims, 1, KEY_DIMS_MAX, "key_dims"),
        key_type=key_type,
        key_scale=scale,
        payload_bytes=_within(m.payload_bytes, 0, ENTRY_PAYLOAD_BYTES_MAX, "payload_bytes"),
        body_hash=digest(m.body_hash, "body_hash"),
    )
    before = header.first_entry - header.prev_first_entry
    if m.seq and not 1 <= before <= BATCH_ENTRIES_MAX:
        raise Malformed("the batch before has no possible number of entries")
    if header.body_bytes > BATCH_BODY_BYTES_MAX:
        raise TooLarge(f"a body of {header.body_bytes} bytes, at most {BATCH_BODY_BYTES_MAX}")
    if encode_header(header) != raw:
        raise Malformed("a header that does not encode to itself")
    return header


def signed_header(raw: bytes, signature: bytes) -> SignedHeader:
    """A header with its id, from bytes of a peer or our own.

    Raises:
        Malformed, TooLarge: the bytes are no header, or the signature has a wrong length.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed("a header's signature has a wrong length")
    return SignedHeader(decode_header(raw), raw, signature, hash_of(HEADER_DOMAIN, raw))


def _signed_to(s: SignedHeader) -> pb.SignedHeader:
    return pb.SignedHeader(header=s.raw, signature=s.signature)


def encode_batch(b: Batch) -> bytes:
    """A chunk of "batches/1", and what is kept on disk."""
    return pb.Batch(signed=_signed_to(b.signed), body=b.body).SerializeToString()


def decode_batch(data: bytes) -> Batch:
    """Inverse of ``encode_batch``; whether the body is that of the header is checked elsewhere."""
    m = pb.Batch()
    parse(m, data, BATCH_BYTES_MAX)
    signed = signed_header(m.signed.header, m.signed.signature)
    if len(m.body) != signed.header.body_bytes:
        raise Malformed(f"a body of {len(m.body)} bytes, {signed.header.body_bytes} expected")
    return Batch(signed, m.body)


def fork_to(e: ForkEvidence) -> pb.ForkEvidence:
    """To protobuf."""
    return pb.ForkEvidence(one=_signed_to(e.one), other=_signed_to(e.other))


def fork_from(m: pb.ForkEvidence) -> ForkEvidence:
    """From protobuf, checked in form."""
    return ForkEvidence(
        signed_header(m.one.header, m.one.signature),
        signed_header(m.other.header, m.other.signature),
    )


def encode_fork(e: ForkEvidence) -> bytes:
    """What is kept on disk."""
    return fork_to(e).SerializeToString()


def decode_fork(data: bytes) -> ForkEvidence:
    """Inverse of ``encode_fork``; whether it proves anything is checked elsewhere."""
    m = pb.ForkEvidence()
    parse(m, data, _EVIDENCE_BYTES_MAX)
    return fork_from(m)


def lines_to(lines: Sequence[MemoryLine]) -> list[pb.MemoryLine]:
    """To protobuf, sorted."""
    return [
        pb.MemoryLine(
            author=public_key_of(x.author),
            start=x.start,
            next=x.next,
            entries=x.entries,
            head=x.head,
            forked=x.forked,
        )
        for x in sorted(lines, key=lambda line: public_key_of(line.author))
    ]


def lines_from(lines: Sequence[pb.MemoryLine]) -> tuple[MemoryLine, ...]:
    """From protobuf, checked in form: at most 64, strictly rising, numbers that fit."""
    _rising([x.author for x in lines])
    return tuple(_line_from(x) for x in lines)


def _line_from(m: pb.MemoryLine) -> MemoryLine:
    author = peer_id_of(m.author)
    if m.forked or not m.next:
        if m.start or m.next or m.entries or m.head:
            raise Malformed("a line of an author of whom nothing is held, with batches")
        return MemoryLine(author, forked=m.forked)
    _within(m.next, 1, SEQ_MAX + 1, "next")
    if m.start >= m.next:
        raise Malformed("a line that ends before it starts")
    _within(m.entries, m.next, SEQ_MAX + BATCH_ENTRIES_MAX, "entries")
    return MemoryLine(author, m.start, m.next, m.entries, digest(m.head, "head"))


def _rising(authors: Sequence[bytes]) -> None:
    if len(authors) > AUTHORS_MAX:
        raise TooLarge(f"{len(authors)} authors, at most {AUTHORS_MAX}")
    if any(a >= b for a, b in pairwise(authors)):
        raise Malformed("authors must rise strictly")


def encode_memory_request(r: MemoryRequest) -> bytes:
    """Request of "memory/1"."""
    return pb.MemoryRequest(job=r.job, lines=lines_to(r.lines), hint=r.hint).SerializeToString()


def decode_memory_request(data: bytes) -> MemoryRequest:
    """Inverse of ``encode_memory_request``."""
    m = pb.MemoryRequest()
    parse(m, data, MEMORY_LINES_BYTES_MAX)
    return MemoryRequest(JobId(digest(m.job, "job")), lines_from(m.lines), m.hint)


def encode_memory_reply(r: MemoryReply) -> bytes:
    """Reply of "memory/1"."""
    evidence = [fork_to(e) for e in r.evidence]
    return pb.MemoryReply(lines=lines_to(r.lines), evidence=evidence).SerializeToString()


def decode_memory_reply(data: bytes) -> MemoryReply:
    """Inverse of ``encode_memory_reply``."""
    m = pb.MemoryReply()
    parse(m, data, MEMORY_REPLY_BYTES_MAX)
    if len(m.evidence) > AUTHORS_MAX:
        raise TooLarge(f"{len(m.evidence)} proofs, at most {AUTHORS_MAX}")
    return MemoryReply(lines_from(m.lines), tuple(fork_from(e) for e in m.evidence))


def encode_batches_request(r: BatchesRequest) -> bytes:
    """Request of "batches/1"."""
    wants = [
        pb.BatchWant(author=public_key_of(w.author), from_seq=w.from_seq, bytes_max=w.bytes_max)
        for w in sorted(r.wants, key=lambda want: public_key_of(want.author))
    ]
    return pb.BatchesRequest(job=r.job, wants=wants).SerializeToString()


def decode_batches_request(data: bytes) -> BatchesRequest:
    """Inverse of ``encode_batches_request``."""
    m = pb.BatchesRequest()
    parse(m, data, BATCHES_REQUEST_BYTES_MAX)
    _rising([w.author for w in m.wants])
    if not m.wants:
        raise Malformed("a request for nothing")
    wants = tuple(
        BatchWant(
            peer_id_of(w.author),
            _within(w.from_seq, 0, SEQ_MAX, "from_seq"),
            _within(w.bytes_max, 1, PULL_BYTES_MAX, "bytes_max"),
        )
        for w in m.wants
    )
    return BatchesRequest(JobId(digest(m.job, "job")), wants)


def encode_question(q: Question) -> bytes:
    """Request of "inquire/1"."""
    return pb.Question(job=q.job, body=q.body).SerializeToString()


def decode_question(data: bytes) -> Question:
    """Inverse of ``encode_question``."""
    m = pb.Question()
    parse(m, data, QUESTION_REQUEST_BYTES_MAX)
    _within(len(m.body), 1, QUESTION_BYTES_MAX, "bytes of a question")
    return Question(JobId(digest(m.job, "job")), m.body)
