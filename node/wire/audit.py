"""Requests and findings of audits, and of answers: bytes <-> values. Fixed lengths: no protobuf.

docs/protocol.md, "Audits".
"""

from dataclasses import dataclass
from enum import IntEnum

from node.errors import Malformed
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Digest, JobId
from node.wire.limits import ROUND_MAX
from node.wire.messages import Signed

KIND = "finding"
"""Kind of a signed finding."""
_PLACE_BYTES = DIGEST_BYTES + 8
ANSWER_REQUEST_BYTES = _PLACE_BYTES + DIGEST_BYTES
_BODY_BYTES = 2 * DIGEST_BYTES + 1
OPENING_REQUEST_BYTES = _PLACE_BYTES
FINDING_BYTES = _PLACE_BYTES + PUBLIC_KEY_BYTES + _BODY_BYTES + SIGNATURE_BYTES
_NO_CLASS = bytes(DIGEST_BYTES)


class Verdict(IntEnum):
    """What an auditor found."""

    OK = 0
    """The steps give the committed parts and local memory, bit for bit."""
    MISMATCH = 1
    """They give others."""
    BREACH = 2
    """The commitment breaks a rule that shows without a replay."""
    NO_OPENING = 3
    """The author did not open its local memory, or opened another."""
    OTHER_CLASS = 4
    """The author's compute class is not the auditor's: other bits say nothing."""
    INCONCLUSIVE = 5
    """The auditor lacks what it would need."""
    FAR = 6
    """Of another class, and further off than classes are from one another. Never evidence."""
    FALSE_ANSWER = 7
    """A screen, result or sketch is not what the committed rows give, bit for bit."""


@dataclass(frozen=True)
class Finding:
    """Kind ``finding``: one elector's verdict on one commitment or answer."""

    about: Digest
    """Id of the signed message."""
    verdict: Verdict
    compute_class: bytes
    """The auditor's; empty: none."""


def encode_finding(finding: Finding) -> bytes:
    """Body of a signed finding: id of the message, class (zeros for none), verdict u8."""
    shown = finding.compute_class or _NO_CLASS
    return finding.about + shown + bytes([finding.verdict])


def decode_finding(body: bytes) -> Finding:
    """Inverse of ``encode_finding``.

    Raises:
        Malformed: a wrong length, or no such verdict.
    """
    if len(body) != _BODY_BYTES:
        raise Malformed(f"a finding of {len(body)} bytes, {_BODY_BYTES} expected")
    try:
        verdict = Verdict(body[-1])
    except ValueError as error:
        raise Malformed(f"no verdict {body[-1]}") from error
    shown = body[DIGEST_BYTES:-1]
    return Finding(Digest(body[:DIGEST_BYTES]), verdict, b"" if shown == _NO_CLASS else shown)


def encode_signed_finding(signed: Signed) -> bytes:
    """Request of "finding/1": job, round u64 big-endian, signer, body, signature."""
    place = signed.job + signed.round.to_bytes(8, "big")
    return place + signed.signer + signed.body + signed.signature


def decode_signed_finding(data: bytes) -> Signed:
    """Inverse of ``encode_signed_finding``; the signature is not checked.

    Raises:
        Malformed: a wrong length, or round.
    """
    if len(data) != FINDING_BYTES:
        raise Malformed(f"a signed finding of {len(data)} bytes, {FINDING_BYTES} expected")
    job, round_ = decode_opening_request(data[:_PLACE_BYTES])
    signer, rest = data[_PLACE_BYTES:][:PUBLIC_KEY_BYTES], data[_PLACE_BYTES + PUBLIC_KEY_BYTES :]
    return Signed(KIND, job, round_, signer, rest[:_BODY_BYTES], rest[_BODY_BYTES:])


def encode_answer_request(job: JobId, round_: int, id_: Digest) -> bytes:
    """Request of "answer/1": job, round u64 big-endian, id of a screen, result or sketch."""
    return encode_opening_request(job, round_) + id_


def decode_answer_request(data: bytes) -> tuple[JobId, int, Digest]:
    """Inverse of ``encode_answer_request``.

    Raises:
        Malformed: a wrong length, or round.
    """
    if len(data) != ANSWER_REQUEST_BYTES:
        raise Malformed(f"{len(data)} bytes to name an answer, {ANSWER_REQUEST_BYTES} expected")
    return *decode_opening_request(data[:_PLACE_BYTES]), Digest(data[_PLACE_BYTES:])


def encode_opening_request(job: JobId, round_: int) -> bytes:
    """Request of "opening/1": job, round u64 big-endian."""
    return job + round_.to_bytes(8, "big")


def decode_opening_request(data: bytes) -> tuple[JobId, int]:
    """Inverse of ``encode_opening_request``.

    Raises:
        Malformed: a wrong length, or round.
    """
    if len(data) != OPENING_REQUEST_BYTES:
        raise Malformed(f"{len(data)} bytes, {OPENING_REQUEST_BYTES} expected")
    round_ = int.from_bytes(data[DIGEST_BYTES:], "big")
    if not 1 <= round_ <= ROUND_MAX:
        raise Malformed(f"no round {round_}")
    return JobId(data[:DIGEST_BYTES]), round_
