"""A peer's signed word about itself: made, encoded, decoded, checked.

Implements docs/protocol.md, "Peer records". What is signed is kept and passed on byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from node.config import ADDRESS_CHARS_MAX, check_multiaddr
from node.errors import BadSignature, Malformed, PeerError, TooLarge
from node.identity import NO_JOB, Signer, Verifier, peer_id_of, verify
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, JobId, PeerId
from node.wire import peer_pb2

ADDRESSES_MAX = 16
"""Addresses in one record."""
JOBS_MAX = 16
"""Job ids in one record."""
VERSION_CHARS_MAX = 32
SIGNED_RECORD_BYTES_MAX = 6 * 1024
"""Largest encoded ``SignedRecord``; below ports.RECORD_BYTES_MAX."""
EXCHANGE_RECORDS_MAX = 64
"""Records in one exchange message."""
EXCHANGE_BYTES_MAX = 128 * 1024
"""Largest exchange message."""
TTL_S_MAX = 3600.0
"""Longest life of a record."""
CLOCK_SKEW_S_MAX = 300.0
"""How far a peer's clock may run before ours."""
SIGNATURE_KIND = "record"

_UNIX_MS_MAX = 2**53
_INCARNATION_MAX = 2**32


class Expired(PeerError):
    """A record that is no longer true, by our clock; nobody need be at fault."""

    reason = "expired"


class WrongSwarm(PeerError):
    """A record of another swarm; nobody need be at fault."""

    reason = "wrong_swarm"


@dataclass(frozen=True)
class PeerRecord:
    """A verified record."""

    peer: PeerId
    sequence: int
    issued_unix_s: float
    expires_unix_s: float
    addresses: tuple[str, ...]
    """Multiaddrs without /p2p/ID."""
    swarm: str
    jobs: tuple[JobId, ...]
    """Jobs that the peer serves."""
    version: str
    incarnation: int
    serves_any: bool
    """The peer serves every job that the swarm publishes."""
    signed: bytes = field(repr=False)
    """The encoded SignedRecord, to pass on as it came."""


def make_record(
    signer: Signer,
    *,
    sequence: int,
    now: float,
    ttl_s: float,
    addresses: Sequence[str],
    swarm: str,
    jobs: Sequence[JobId] = (),
    version: str = "",
    incarnation: int = 0,
    serves_any: bool = False,
) -> PeerRecord:
    """Sign our own record. What is above the limits on addresses and jobs is left out.

    Args:
        signer: Us.
        sequence: Above that of every record that we made before.
        now: Unix seconds.
        ttl_s: Life of the record, at most TTL_S_MAX.
        addresses: Multiaddrs without /p2p/ID.
        swarm: Name of the swarm.
        jobs: Ids of the jobs that we serve.
        version: Our software's version.
        incarnation: How often our slot log was lost.
        serves_any: We serve every job that the swarm publishes.
    """
    assert 0 < ttl_s <= TTL_S_MAX, ttl_s
    record = peer_pb2.PeerRecord(
        public_key=signer.public_key,
        sequence=sequence,
        issued_unix_ms=int(now * 1000),
        expires_unix_ms=int((now + ttl_s) * 1000),
        addresses=list(addresses)[:ADDRESSES_MAX],
        swarm=swarm,
        jobs=list(jobs)[:JOBS_MAX],
        version=version[:VERSION_CHARS_MAX],
        incarnation=incarnation,
        serves_any=serves_any,
    ).SerializeToString(deterministic=True)
    signature = signer.sign(SIGNATURE_KIND, NO_JOB, 0, record)
    signed = peer_pb2.SignedRecord(record=record, signature=signature)
    return _parse(record, signed.SerializeToString(deterministic=True))


def decode_record(
    signed: bytes, *, swarm: str, now: float, verifier: Verifier = verify
) -> PeerRecord:
    """Read and check a record that anybody may have written.

    The errors name no peer: who passed the bytes on is known to the caller only, and the author
    that they claim may be innocent.

    Args:
        signed: Encoded SignedRecord.
        swarm: The only swarm that is accepted.
        now: Unix seconds.
        verifier: Checks the signature.

    Raises:
        TooLarge: above a limit on size, length or count.
        Malformed: not a record, or a field out of its range.
        BadSignature: the author did not sign these bytes.
        WrongSwarm: of another swarm.
        Expired: its life is over.
    """
    record = open_record(signed, verifier)
    if record.swarm != swarm:
        raise WrongSwarm(f"a record of swarm {record.swarm!r}, not {swarm!r}")
    if record.expires_unix_s <= now:
        raise Expired(
            f"the record of {record.peer} expired {now - record.expires_unix_s:.0f} s ago"
        )
    if record.expires_unix_s > now + TTL_S_MAX + CLOCK_SKEW_S_MAX:
        raise Malformed(f"a record lives at most {TTL_S_MAX:.0f} s from now")
    return record


def open_record(signed: bytes, verifier: Verifier) -> PeerRecord:
    """The record in ``signed``, whose author signed it; when and where it holds is not checked.

    Raises:
        TooLarge, Malformed, BadSignature: as ``decode_record``.
    """
    if len(signed) > SIGNED_RECORD_BYTES_MAX:
        raise TooLarge(f"a signed record has at most {SIGNED_RECORD_BYTES_MAX} bytes")
    try:
        wire = peer_pb2.SignedRecord.FromString(signed)
        public_key = peer_pb2.PeerRecord.FromString(wire.record).public_key
    except DecodeError as error:
        raise Malformed("not a signed record") from error
    if len(public_key) != PUBLIC_KEY_BYTES or len(wire.signature) != SIGNATURE_BYTES:
        raise Malformed("a record has a key of 32 and a signature of 64 bytes")
    if not verifier(public_key, SIGNATURE_KIND, NO_JOB, 0, wire.record, wire.signature):
        raise BadSignature("the signature of the record does not verify")
    return _parse(wire.record, signed)


def _parse(raw: bytes, signed: bytes) -> PeerRecord:
    wire = peer_pb2.PeerRecord.FromString(raw)
    if len(wire.addresses) > ADDRESSES_MAX or len(wire.jobs) > JOBS_MAX:
        raise TooLarge(f"a record has at most {ADDRESSES_MAX} addresses and {JOBS_MAX} jobs")
    if any(len(address) > ADDRESS_CHARS_MAX for address in wire.addresses):
        raise TooLarge(f"an address has at most {ADDRESS_CHARS_MAX} characters")
    try:
        addresses = tuple(check_multiaddr(address) for address in wire.addresses)
    except ValueError as error:
        raise Malformed(str(error)) from error
    if any(len(job) != DIGEST_BYTES for job in wire.jobs):
        raise Malformed(f"a job id has {DIGEST_BYTES} bytes")
    version = wire.version
    if len(version) > VERSION_CHARS_MAX or not (version.isascii() and version.isprintable()):
        raise Malformed(f"a version is {VERSION_CHARS_MAX} printable ASCII characters at most")
    life_ms = wire.expires_unix_ms - wire.issued_unix_ms
    if not 0 < life_ms <= TTL_S_MAX * 1000 or wire.expires_unix_ms >= _UNIX_MS_MAX:
        raise Malformed(f"a record lives more than 0 and at most {TTL_S_MAX:.0f} s")
    if not 0 < wire.sequence < 2**63 or wire.incarnation >= _INCARNATION_MAX:
        raise Malformed("the sequence or the incarnation is out of range")
    return PeerRecord(
        peer=peer_id_of(wire.public_key),
        sequence=wire.sequence,
        issued_unix_s=wire.issued_unix_ms / 1000,
        expires_unix_s=wire.expires_unix_ms / 1000,
        addresses=addresses,
        swarm=wire.swarm,
        jobs=tuple(JobId(job) for job in wire.jobs),
        version=version,
        incarnation=wire.incarnation,
        serves_any=wire.serves_any,
        signed=signed,
    )


def encode_exchange(records: Sequence[bytes]) -> bytes:
    """An exchange message, request or reply, of as many ``records`` as fit from the first on."""
    taken: list[bytes] = []
    free_bytes = EXCHANGE_BYTES_MAX
    for signed in records[:EXCHANGE_RECORDS_MAX]:
        free_bytes -= len(signed) + 8
        if free_bytes < 0:
            break
        taken.append(signed)
    return peer_pb2.PeerExchangeRequest(records=taken).SerializeToString(deterministic=True)


def decode_exchange(raw: bytes) -> Sequence[bytes]:
    """The encoded SignedRecords of an exchange message (peer input), each still to be checked.

    Raises:
        TooLarge: above a limit on size or count.
        Malformed: not an exchange message.
    """
    if len(raw) > EXCHANGE_BYTES_MAX:
        raise TooLarge(f"an exchange has at most {EXCHANGE_BYTES_MAX} bytes")
    try:
        records = peer_pb2.PeerExchangeRequest.FromString(raw).records
    except DecodeError as error:
        raise Malformed("not an exchange message") from error
    if len(records) > EXCHANGE_RECORDS_MAX:
        raise TooLarge(f"an exchange has at most {EXCHANGE_RECORDS_MAX} records")
    return list(records)
