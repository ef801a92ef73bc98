"""Request of "probation/1": bytes <-> a signed commitment. docs/protocol.md, "Probation"."""

from node.errors import Malformed, TooLarge
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, JobId
from node.wire.limits import COMMITMENT_BYTES_MAX, ROUND_MAX
from node.wire.messages import Signed

_HEAD_BYTES = DIGEST_BYTES + 8 + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
PAST_COMMITMENT_BYTES_MAX = _HEAD_BYTES + COMMITMENT_BYTES_MAX


def encode_past_commitment(signed: Signed) -> bytes:
    """Job, round u64 big-endian, signer, signature, body."""
    place = signed.job + signed.round.to_bytes(8, "big")
    return place + signed.signer + signed.signature + signed.body


def decode_past_commitment(data: bytes) -> Signed:
    """Inverse of ``encode_past_commitment``; body and signature are not checked.

    Raises:
        Malformed: too short, or no round.
        TooLarge: above PAST_COMMITMENT_BYTES_MAX.
    """
    if len(data) > PAST_COMMITMENT_BYTES_MAX:
        raise TooLarge(f"a commitment of {len(data)} bytes")
    if len(data) <= _HEAD_BYTES:
        raise Malformed(f"{len(data)} bytes are no signed commitment")
    job, rest = JobId(data[:DIGEST_BYTES]), data[DIGEST_BYTES:]
    round_, rest = int.from_bytes(rest[:8], "big"), rest[8:]
    signer, rest = rest[:PUBLIC_KEY_BYTES], rest[PUBLIC_KEY_BYTES:]
    if not 1 <= round_ <= ROUND_MAX:
        raise Malformed(f"no round {round_}")
    return Signed("commit", job, round_, signer, rest[SIGNATURE_BYTES:], rest[:SIGNATURE_BYTES])
