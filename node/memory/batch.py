"""Entries as arrays, their body as bytes, and a batch that an author signs over them.

Implements docs/protocol.md, "Shared memory", "Batches". Nothing is copied where a body is read:
the arrays are views of the bytes that were received.
"""

from typing import Any

import numpy as np

from node.errors import Malformed
from node.identity import Signer, Verifier
from node.ledger.forks import BATCH, check_signature
from node.memory.config import MemorySpec
from node.merkle import digest
from node.types import JobId
from node.wire.convert_memory import encode_header, signed_header
from node.wire.memory_messages import Batch, BatchHeader, KeyType, SignedHeader
from workloads.api import Entries

BODY_DOMAIN = "memory body"

_KEY_DTYPES: dict[KeyType, np.dtype[Any]] = {
    KeyType.INT8: np.dtype("i1"),
    KeyType.FP16: np.dtype("<f2"),
}


class ContentError(Malformed):
    """A signed batch whose content no author of this job may make: the author is at fault too."""

    reason = "malformed"


def check_entries(entries: Entries, spec: MemorySpec) -> None:
    """Own entries, before they are signed.

    Raises:
        ValueError: shapes, types or values are not those of the job.
    """
    n = len(entries.values)
    expected = {
        "keys": ((n, spec.key_dims), _KEY_DTYPES[spec.key_type]),
        "values": ((n,), np.dtype("f4")),
        "payload": ((n, spec.payload_bytes), np.dtype("u1")),
    }
    for name, (shape, dtype) in expected.items():
        array = getattr(entries, name)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name}: {array.dtype} {array.shape}, not {dtype} {shape}")
    if not np.isfinite(entries.values).all():
        raise ValueError("values are finite")
    if spec.key_type is KeyType.FP16 and not np.isfinite(entries.keys).all():
        raise ValueError("keys are finite")
    scale = np.float32(entries.key_scale)
    if spec.key_type is KeyType.INT8 and not (np.isfinite(scale) and scale > 0):
        raise ValueError("the scale of int8 keys is finite and above 0")


def body_of(entries: Entries) -> bytes:
    """The columns in their order on the wire."""
    return b"".join(
        (
            entries.values.astype("<f4", copy=False).tobytes(),
            entries.keys.astype(entries.keys.dtype.newbyteorder("<"), copy=False).tobytes(),
            entries.payload.tobytes(),
        )
    )


def entries_of(batch: Batch) -> Entries:
    """The columns of a batch whose body has the length that its header tells."""
    h = batch.header
    n, d, p = h.entries, h.key_dims, h.payload_bytes
    dtype = _KEY_DTYPES[h.key_type]
    at = 4 * n
    values = np.frombuffer(batch.body, "<f4", n)
    keys = np.frombuffer(batch.body, dtype, n * d, at).reshape(n, d)
    at += n * d * dtype.itemsize
    payload = np.frombuffer(batch.body, np.uint8, n * p, at).reshape(n, p)
    return Entries(keys, values, payload, h.key_scale)


def make_batch(
    entries: Entries, previous: SignedHeader | None, job: JobId, spec: MemorySpec, signer: Signer
) -> Batch:
    """Sign checked entries as the author's next batch.

    Args:
        entries: 1 to ``spec.entries_per_batch`` of them, checked.
        previous: the author's last batch; None: this is the first.
        job: whose memory it is.
        spec: the job's form of entries.
        signer: the author.
    """
    assert 1 <= len(entries) <= spec.entries_per_batch, len(entries)
    last = previous.header if previous else None
    body = body_of(entries)
    is_int8 = spec.key_type is KeyType.INT8
    header = BatchHeader(
        job=job,
        author=signer.peer_id,
        seq=last.seq + 1 if last else 0,
        prev=previous.id if previous else b"",
        first_entry=last.end_entry if last else 0,
        prev_first_entry=last.first_entry if last else 0,
        entries=len(entries),
        key_dims=spec.key_dims,
        key_type=spec.key_type,
        key_scale=float(np.float32(entries.key_scale)) if is_int8 else 0.0,
        payload_bytes=spec.payload_bytes,
        body_hash=digest(BODY_DOMAIN, body),
    )
    raw = encode_header(header)
    return Batch(signed_header(raw, signer.sign(BATCH, job, header.seq, raw)), body)


def check_batch(batch: Batch, job: JobId, spec: MemorySpec, verify: Verifier) -> None:
    """Whether a received batch is its author's, whole, and of the job's form.

    Raises:
        BadSignature: it is not signed by its author for this job.
        Malformed: the body is not the one that was signed.
        ContentError: the author signed what does not fit the job.
    """
    check_signature(batch.signed, job, verify)
    check_content(batch, spec)


def check_content(batch: Batch, spec: MemorySpec) -> None:
    """The part of ``check_batch`` that needs no key.

    Raises:
        Malformed, ContentError: as there.
    """
    check_body(batch)
    check_form(batch.header, spec)
    entries = entries_of(batch)
    if not np.isfinite(entries.values).all():
        raise ContentError("values that are not finite")
    if batch.header.key_type is KeyType.FP16 and not np.isfinite(entries.keys).all():
        raise ContentError("keys that are not finite")


def check_body(batch: Batch) -> None:
    """Whether the body is the one that was signed.

    Raises:
        Malformed: it is not.
    """
    if digest(BODY_DOMAIN, batch.body) != batch.header.body_hash:
        raise Malformed("a body that is not that of its header")


def check_form(h: BatchHeader, spec: MemorySpec) -> None:
    """Whether a signed header describes entries of the job.

    Raises:
        ContentError: it does not.
    """
    form = (h.key_dims, h.key_type, h.payload_bytes)
    if form != (spec.key_dims, spec.key_type, spec.payload_bytes):
        raise ContentError(f"entries of form {form}, which is not that of the job")
    if h.entries > spec.entries_per_batch:
        raise ContentError(f"{h.entries} entries in a batch, at most {spec.entries_per_batch}")
