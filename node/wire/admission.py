"""What a node signs that wants a seat: bytes <-> values. Fixed length, so there is no protobuf.

docs/protocol.md, "Admission".
"""

from dataclasses import dataclass

from node.errors import Malformed
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, JobId
from node.wire.limits import ROUND_MAX
from node.wire.messages import Signed

KIND = "apply"
"""Kind of a signed application; it is signed for round 0, and its body names the round."""
_BODY_BYTES = 16
APPLICATION_BYTES = DIGEST_BYTES + PUBLIC_KEY_BYTES + _BODY_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class Application:
    """Body of kind ``apply``."""

    round: int
    """The last certified round that the applicant knows."""
    nonce: int
    """Its proof of work, below 2^64; 0 where none is asked for."""


def encode_application(value: Application) -> bytes:
    """Round u64, nonce u64; big-endian."""
    return value.round.to_bytes(8, "big") + value.nonce.to_bytes(8, "big")


def decode_application(body: bytes) -> Application:
    """Inverse of ``encode_application``.

    Raises:
        Malformed: a wrong length, or round.
    """
    if len(body) != _BODY_BYTES:
        raise Malformed(f"an application of {len(body)} bytes, {_BODY_BYTES} expected")
    round_ = int.from_bytes(body[:8], "big")
    if round_ > ROUND_MAX:
        raise Malformed(f"no round {round_}")
    return Application(round_, int.from_bytes(body[8:], "big"))


def encode_signed_application(signed: Signed) -> bytes:
    """Request of "apply/1": job, signer, body, signature."""
    return signed.job + signed.signer + signed.body + signed.signature


def decode_signed_application(data: bytes) -> Signed:
    """Inverse of ``encode_signed_application``; the signature is not checked.

    Raises:
        Malformed: a wrong length.
    """
    if len(data) != APPLICATION_BYTES:
        raise Malformed(f"an application of {len(data)} bytes, {APPLICATION_BYTES} expected")
    job, rest = JobId(data[:DIGEST_BYTES]), data[DIGEST_BYTES:]
    signer, rest = rest[:PUBLIC_KEY_BYTES], rest[PUBLIC_KEY_BYTES:]
    return Signed(KIND, job, 0, signer, rest[:_BODY_BYTES], rest[_BODY_BYTES:])
