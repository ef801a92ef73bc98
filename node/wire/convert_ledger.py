"""Bytes <-> decisions and certificates, and the checks of form that every conversion shares.

See ``convert`` for the rules.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from google.protobuf.message import DecodeError, Message

from node.errors import Malformed, TooLarge
from node.identity import peer_id_of, public_key_of
from node.types import (
    DIGEST_BYTES,
    ELECTORS_MAX,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Digest,
    JobId,
)
from node.wire import ledger_pb2 as pb
from node.wire.chain_messages import ChainRequest, StateRequest
from node.wire.convert_probation import step_from, step_to
from node.wire.fields import FIELDS_MAX, check_fields
from node.wire.limits import (
    AUTHORS_MAX,
    BATCH_ENTRIES_MAX,
    CHAIN_CERTIFICATES_MAX,
    CHAIN_REPLY_BYTES_MAX,
    CHUNKS_ASKED_MAX,
    DECISION_BYTES_MAX,
    DECISION_CLEARED_MAX,
    PARTS_MAX,
    REASON_BYTES_MAX,
    ROUND_MAX,
    RULE_PATTERN,
    SEQ_MAX,
    STATE_CHUNKS_MAX,
    VIEW_MAX,
)
from node.wire.memory_messages import MemoryReach
from node.wire.messages import Certificate, Decision, PrepareCertificate, VoteSignature


def parse(message: Message, data: bytes, most: int, fields_max: int = FIELDS_MAX) -> None:
    """Parse ``data`` into ``message``.

    Raises:
        TooLarge: above ``most`` bytes or ``fields_max`` fields.
        Malformed: not such a message.
    """
    if len(data) > most:
        raise TooLarge(f"{len(data)} bytes, at most {most}")
    check_fields(message, data, fields_max)
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Malformed(f"not a {message.DESCRIPTOR.name}") from error


def digest(data: bytes, what: str) -> Digest:
    """A 32-byte hash."""
    if len(data) != DIGEST_BYTES:
        raise Malformed(f"{what}: {len(data)} bytes, {DIGEST_BYTES} expected")
    return Digest(data)


def reason(code: str) -> str:
    """A short stable code, such as ``missing`` or ``bad_norm``."""
    if not 1 <= len(code) <= REASON_BYTES_MAX or not code.replace("_", "a").isalnum():
        raise Malformed("a reason is 1 to 32 letters, digits and underscores")
    if not code.isascii():
        raise Malformed("a reason is ASCII")
    return code


def rule_text(text: str) -> str:
    """A rule as the manifest spells it, such as ``nnm | caf``."""
    if not re.match(RULE_PATTERN, text):
        raise Malformed("a rule is up to four lower-case names with ' | ' between them")
    return text


def rising(indices: Sequence[int], most: int, what: str) -> None:
    """Indices below ``most``, strictly rising: no duplicates, one order."""
    last = -1
    for index in indices:
        if not last < index < most:
            raise Malformed(f"{what}: indices must rise strictly and stay below {most}")
        last = index


def _votes_to(votes: Sequence[VoteSignature]) -> list[pb.VoteSignature]:
    return [pb.VoteSignature(elector=v.elector, signature=v.signature) for v in votes]


def _votes_from(votes: Sequence[pb.VoteSignature]) -> tuple[VoteSignature, ...]:
    rising([v.elector for v in votes], ELECTORS_MAX, "votes")
    for vote in votes:
        if len(vote.signature) != SIGNATURE_BYTES:
            raise Malformed("a vote's signature has a wrong length")
    return tuple(VoteSignature(v.elector, v.signature) for v in votes)


def check_view(value: int) -> int:
    """View numbers run from 0 to VIEW_MAX."""
    if value > VIEW_MAX:
        raise TooLarge(f"view {value} above {VIEW_MAX}")
    return value


def prepared_to(value: PrepareCertificate) -> pb.PrepareCertificate:
    """To protobuf."""
    return pb.PrepareCertificate(
        view=value.view, decision_id=value.decision_id, votes=_votes_to(value.votes)
    )


def prepared_from(m: pb.PrepareCertificate) -> PrepareCertificate:
    """From protobuf, checked in form."""
    return PrepareCertificate(
        check_view(m.view), digest(m.decision_id, "decision_id"), _votes_from(m.votes)
    )


def encode_prepared(value: PrepareCertificate) -> bytes:
    """Bytes for the slot log."""
    return prepared_to(value).SerializeToString()


def decode_prepared(data: bytes) -> PrepareCertificate:
    """Inverse of ``encode_prepared``."""
    m = pb.PrepareCertificate()
    parse(m, data, 16 * 1024)
    return prepared_from(m)


def certificate_to(value: Certificate) -> pb.Certificate:
    """To protobuf."""
    return pb.Certificate(decision=value.decision, view=value.view, votes=_votes_to(value.votes))


def certificate_from(m: pb.Certificate) -> Certificate:
    """From protobuf, checked in form."""
    if len(m.decision) > DECISION_BYTES_MAX:
        raise TooLarge(f"decision of {len(m.decision)} bytes")
    return Certificate(m.decision, check_view(m.view), _votes_from(m.votes))


def encode_certificate(value: Certificate) -> bytes:
    """Bytes for the ledger on disk."""
    return certificate_to(value).SerializeToString()


def decode_certificate(data: bytes) -> Certificate:
    """Inverse of ``encode_certificate``."""
    m = pb.Certificate()
    parse(m, data, DECISION_BYTES_MAX + 16 * 1024)
    return certificate_from(m)


def _reaches_from(reaches: Sequence[pb.MemoryReach]) -> tuple[MemoryReach, ...]:
    if len(reaches) > AUTHORS_MAX:
        raise TooLarge(f"{len(reaches)} authors of memory, at most {AUTHORS_MAX}")
    found = tuple(MemoryReach(peer_id_of(r.author), r.next, r.entries) for r in reaches)
    if any(a.author >= b.author for a, b in pairwise(found)):
        raise Malformed("authors of memory must rise strictly")
    if not all(
        1 <= r.next <= SEQ_MAX + 1 and r.next <= r.entries <= SEQ_MAX + BATCH_ENTRIES_MAX
        for r in found
    ):
        raise Malformed("batches or entries of memory out of range")
    return found


def encode_decision(d: Decision) -> bytes:
    """The bytes that are hashed, voted on and kept. Only the proposer's bytes count."""
    return pb.Decision(
        job=d.job,
        round=d.round,
        prev=d.prev,
        skip=d.skip,
        skip_reason=d.skip_reason,
        rule=d.rule,
        replicas=d.replicas,
        plan=[pb.PlannedContribution(elector=e, commitment_id=i) for e, i in d.plan],
        refused=[pb.RefusedContribution(elector=e, reason=r) for e, r in d.refused],
        result_roots=list(d.result_roots),
        state_root=d.state_root,
        credits=[pb.Credit(elector=e, micro=m) for e, m in d.credits],
        bans=list(d.bans),
        next=[pb.Elector(public_key=k, incarnation=i) for k, i in d.electors],
        governance=pb.Governance(lease_until_round=d.lease_until_round, halted=d.halted),
        memory=[
            pb.MemoryReach(author=public_key_of(r.author), next=r.next, entries=r.entries)
            for r in d.memory
        ],
        beacon=d.beacon,
        unrevealed=d.unrevealed,
        cleared=list(d.cleared),
        probation=step_to(d.probation),
    ).SerializeToString(deterministic=True)


def decode_decision(data: bytes) -> Decision:
    """Inverse of ``encode_decision``; bytes that encode otherwise (unknown fields) are refused."""
    m = pb.Decision()
    parse(m, data, DECISION_BYTES_MAX)
    if not 1 <= m.round <= ROUND_MAX:
        raise Malformed(f"round {m.round} is out of range")
    rising([p.elector for p in m.plan], ELECTORS_MAX, "plan")
    rising([r.elector for r in m.refused], ELECTORS_MAX, "refused")
    rising([c.elector for c in m.credits], ELECTORS_MAX, "credits")
    rising(m.unrevealed, ELECTORS_MAX, "unrevealed")
    if len(m.result_roots) > PARTS_MAX or len(m.bans) > ELECTORS_MAX:
        raise TooLarge("too many result roots or bans")
    if len(m.cleared) > DECISION_CLEARED_MAX:
        raise TooLarge("too many cleared commitments")
    if not 1 <= len(m.next) <= ELECTORS_MAX:
        raise Malformed("an electorate has 1 to 64 members")
    if any(len(key) != PUBLIC_KEY_BYTES for key in [*m.bans, *(e.public_key for e in m.next)]):
        raise Malformed("a public key has a wrong length")
    if any(a >= b for each in (m.bans, m.cleared) for a, b in pairwise(each)):
        raise Malformed("bans and what is cleared must rise strictly")
    peers = [peer_id_of(e.public_key) for e in m.next]
    if any(a >= b for a, b in pairwise(peers)):
        raise Malformed("electors must be distinct and sorted by peer id")
    decision = Decision(
        job=JobId(digest(m.job, "job")),
        round=m.round,
        prev=digest(m.prev, "prev"),
        skip=m.skip,
        skip_reason=reason(m.skip_reason) if m.skip_reason else "",
        rule=rule_text(m.rule) if m.rule else "",
        replicas=m.replicas,
        plan=tuple((p.elector, digest(p.commitment_id, "commitment id")) for p in m.plan),
        refused=tuple((r.elector, reason(r.reason)) for r in m.refused),
        result_roots=tuple(digest(r, "result root") for r in m.result_roots),
        state_root=digest(m.state_root, "state_root"),
        credits=tuple((c.elector, c.micro) for c in m.credits),
        bans=tuple(m.bans),
        electors=tuple((e.public_key, e.incarnation) for e in m.next),
        lease_until_round=m.governance.lease_until_round,
        halted=m.governance.halted,
        memory=_reaches_from(m.memory),
        beacon=digest(m.beacon, "beacon") if m.beacon else b"",
        unrevealed=tuple(m.unrevealed),
        probation=step_from(m.probation),
        cleared=tuple(digest(c, "cleared commitment") for c in m.cleared),
    )
    if encode_decision(decision) != data:
        raise Malformed("a decision with unknown or reordered fields")
    return decision


def encode_chain_request(request: ChainRequest) -> bytes:
    """Request of "chain/1"."""
    return pb.ChainRequest(
        job=request.job, from_round=request.from_round, count=request.count
    ).SerializeToString()


def decode_chain_request(data: bytes) -> ChainRequest:
    """Inverse of ``encode_chain_request``."""
    m = pb.ChainRequest()
    parse(m, data, 128)
    if not 1 <= m.from_round <= ROUND_MAX or not 1 <= m.count <= CHAIN_CERTIFICATES_MAX:
        raise Malformed("from_round or count is out of range")
    return ChainRequest(JobId(digest(m.job, "job")), m.from_round, m.count)


def encode_chain(certificates: Sequence[Certificate]) -> bytes:
    """Reply of "chain/1"."""
    return pb.ChainReply(certificates=[certificate_to(c) for c in certificates]).SerializeToString()


def decode_chain(data: bytes) -> tuple[Certificate, ...]:
    """Inverse of ``encode_chain``."""
    m = pb.ChainReply()
    parse(m, data, CHAIN_REPLY_BYTES_MAX)
    if len(m.certificates) > CHAIN_CERTIFICATES_MAX:
        raise TooLarge("too many certificates")
    return tuple(certificate_from(c) for c in m.certificates)


def encode_state_request(request: StateRequest) -> bytes:
    """Request of "state/1" and "chunks/1"."""
    return pb.StateRequest(
        job=request.job, state_root=request.state_root, chunks=request.chunks
    ).SerializeToString()


def decode_state_request(data: bytes) -> StateRequest:
    """Inverse of ``encode_state_request``."""
    m = pb.StateRequest()
    parse(m, data, 32 * 1024)
    if len(m.chunks) > CHUNKS_ASKED_MAX:
        raise TooLarge("too many chunks asked")
    rising(m.chunks, STATE_CHUNKS_MAX, "chunks")
    return StateRequest(
        JobId(digest(m.job, "job")), digest(m.state_root, "state_root"), tuple(m.chunks)
    )


def encode_state_reply(hashes: Sequence[bytes]) -> bytes:
    """Reply of "state/1"."""
    return pb.StateReply(chunk_hashes=list(hashes)).SerializeToString()


def decode_state_reply(data: bytes) -> tuple[bytes, ...]:
    """Inverse of ``encode_state_reply``."""
    m = pb.StateReply()
    parse(m, data, STATE_CHUNKS_MAX * 40, STATE_CHUNKS_MAX)
    if len(m.chunk_hashes) > STATE_CHUNKS_MAX:
        raise TooLarge("too many chunks")
    return tuple(bytes(digest(h, "chunk hash")) for h in m.chunk_hashes)
