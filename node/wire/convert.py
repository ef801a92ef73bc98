"""Bytes <-> messages of the round: the only file that touches their protobuf classes.

Every ``decode_*`` raises ``Malformed`` or ``TooLarge`` for bytes that are not a message in form:
wrong lengths, counts, ranges or order. A decoded value is safe to hold; whether it is true is
decided elsewhere. Ledger messages are in ``convert_ledger``.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from node.errors import Malformed, TooLarge
from node.types import (
    DIGEST_BYTES,
    ELECTORS_MAX,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Digest,
    JobId,
)
from node.wire import exchange_pb2 as pb
from node.wire.bulk import nested, part_fields
from node.wire.chain_messages import Ack
from node.wire.convert_ledger import (
    certificate_from,
    certificate_to,
    check_view,
    digest,
    parse,
    prepared_from,
    prepared_to,
    reason,
    rising,
)
from node.wire.convert_memory import fork_from, fork_to, lines_from, lines_to
from node.wire.limits import (
    CLEARED_MAX,
    COMMITMENT_BYTES_MAX,
    DECISION_BYTES_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_LIST_BYTES_MAX,
    EXPONENT_MAX,
    EXPONENT_MIN,
    FETCH_IDS_MAX,
    PARTS_MAX,
    PAYLOAD_BYTES_MAX,
    PROBATION_LISTED_MAX,
    ROUND_MAX,
    SIGNED_BODY_BYTES_MAX,
    SKETCHES_BYTES_MAX,
    SQUARE_NORM_MAX,
)
from node.wire.memory_messages import ForkEvidence
from node.wire.messages import (
    Beacon,
    Commitment,
    Contradiction,
    Evidence,
    FetchReply,
    FetchRequest,
    Have,
    Judgement,
    ListMessage,
    PartCommitment,
    PartScreen,
    Plan,
    PrepareCertificate,
    Proposal,
    Results,
    Reveal,
    RoundBody,
    RoundMessage,
    Scatter,
    Screens,
    Seal,
    Signed,
    Sketches,
    Spread,
    Vote,
)

KINDS = frozenset(
    (
        "commit", "have", "list", "screen", "plan", "result", "seal", "reveal", "beacon", "sketch",
        "propose", "prepare", "vote",
    )
)  # fmt: skip
APPLY = frozenset({"apply"})
EVIDENCE_KINDS = KINDS | {"finding"}
PROBATION_KINDS = frozenset({"commit", "finding"})
VOTE_BYTES = 4 + DIGEST_BYTES


def _count(items: Sequence[object], most: int, what: str) -> None:
    if len(items) > most:
        raise TooLarge(f"{what}: {len(items)} entries, at most {most}")


def _optional(data: bytes, what: str) -> bytes:
    if len(data) not in (0, DIGEST_BYTES):
        raise Malformed(f"{what}: {len(data)} bytes, 0 or {DIGEST_BYTES} expected")
    return data


# Signed messages -------------------------------------------------------------------------------


def _signed_to(signed: Signed) -> pb.Signed:
    return pb.Signed(
        kind=signed.kind, signer=signed.signer, body=signed.body, signature=signed.signature
    )


def _signed_from(
    message: pb.Signed, job: JobId, round_: int, kinds: frozenset[str] = KINDS
) -> Signed:
    if message.kind not in kinds:
        raise Malformed("unknown kind of signed message")
    if len(message.signer) != PUBLIC_KEY_BYTES or len(message.signature) != SIGNATURE_BYTES:
        raise Malformed("signer or signature has a wrong length")
    if len(message.body) > SIGNED_BODY_BYTES_MAX:
        raise TooLarge(f"signed body of {len(message.body)} bytes")
    return Signed(message.kind, job, round_, message.signer, message.body, message.signature)


def _all_signed(
    messages: Sequence[pb.Signed], job: JobId, round_: int, what: str
) -> tuple[Signed, ...]:
    _count(messages, ELECTORS_MAX, what)
    return tuple(_signed_from(m, job, round_) for m in messages)


def encode_signed(signed: Signed) -> bytes:
    """Bytes for the slot log."""
    return _signed_to(signed).SerializeToString()


def decode_signed(data: bytes, job: JobId, round_: int) -> Signed:
    """Inverse of ``encode_signed``."""
    message = pb.Signed()
    parse(message, data, SIGNED_BODY_BYTES_MAX + 1024)
    return _signed_from(message, job, round_)


# Evidence --------------------------------------------------------------------------------------


def _evidence_to(evidence: Evidence) -> pb.Evidence:
    if isinstance(evidence, ForkEvidence):
        return pb.Evidence(job=evidence.one.header.job, fork=fork_to(evidence))
    if isinstance(evidence, Judgement):
        on = evidence.first
        found = [_signed_to(finding) for finding in evidence.findings]
        return pb.Evidence(job=on.job, round=on.round, first=_signed_to(on), findings=found)
    first, second = evidence.first, evidence.second
    pair = _signed_to(first), _signed_to(second)
    return pb.Evidence(job=first.job, round=first.round, first=pair[0], second=pair[1])


def _evidence_from(m: pb.Evidence) -> Evidence:
    if m.ByteSize() > EVIDENCE_BYTES_MAX:
        raise TooLarge(f"evidence of {m.ByteSize()} bytes, at most {EVIDENCE_BYTES_MAX}")
    job = JobId(digest(m.job, "job"))
    value: Evidence
    if m.HasField("fork"):
        value = fork_from(m.fork)
    else:
        round_ = check_round(m.round)
        _count(m.findings, ELECTORS_MAX, "findings")
        first = _signed_from(m.first, job, round_, EVIDENCE_KINDS)
        others = [_signed_from(s, job, round_, EVIDENCE_KINDS) for s in (m.findings or (m.second,))]
        value = Judgement(first, tuple(others)) if m.findings else Contradiction(first, others[0])
    if _bytes_of(_evidence_to(value)) != _bytes_of(m):
        raise Malformed("evidence with fields that say nothing, or of another job")
    return value


def _bytes_of(m: pb.Evidence) -> bytes:
    return m.SerializeToString(deterministic=True)


def _all_evidence(messages: Sequence[pb.Evidence]) -> tuple[Evidence, ...]:
    _count(messages, ELECTORS_MAX, "evidence")
    total = sum(m.ByteSize() for m in messages)
    if total > EVIDENCE_LIST_BYTES_MAX:
        raise TooLarge(f"{total} bytes of evidence, at most {EVIDENCE_LIST_BYTES_MAX}")
    return tuple(map(_evidence_from, messages))


def encode_evidence(evidence: Evidence) -> bytes:
    """What travels, lies on disk, and is exported."""
    return _bytes_of(_evidence_to(evidence))


def decode_evidence(data: bytes) -> Evidence:
    """Inverse of ``encode_evidence``; whether it proves anything is checked elsewhere."""
    m = pb.Evidence()
    parse(m, data, EVIDENCE_BYTES_MAX)
    value = _evidence_from(m)
    if encode_evidence(value) != data:
        raise Malformed("evidence with reordered fields")
    return value


# Bodies of signed messages ---------------------------------------------------------------------


def encode_commitment(c: Commitment) -> bytes:
    """Body of kind ``commit``."""
    return pb.Commitment(
        prev=c.prev,
        state_root=c.state_root,
        parts=[
            pb.PartCommitment(leaf=p.leaf, square_norm=p.square_norm, exponent=p.exponent)
            for p in c.parts
        ],
        steps=c.steps,
        loss_micro=c.loss_micro,
        local_before=c.local_before,
        local_after=c.local_after,
        memory=lines_to(c.memory),
        compute_class=c.compute_class,
        cleared=c.cleared,
    ).SerializeToString()


def decode_commitment(body: bytes) -> Commitment:
    """Inverse of ``encode_commitment``, with every limit checked."""
    m = pb.Commitment()
    parse(m, body, COMMITMENT_BYTES_MAX)
    _count(m.parts, PARTS_MAX, "parts")
    if not m.parts or m.steps < 1:
        raise Malformed("a commitment needs at least one part and one step")
    for p in m.parts:
        if p.square_norm >= SQUARE_NORM_MAX or not EXPONENT_MIN <= p.exponent <= EXPONENT_MAX:
            raise Malformed("square norm or exponent of a part is out of range")
    return Commitment(
        prev=digest(m.prev, "prev"),
        state_root=digest(m.state_root, "state_root"),
        parts=tuple(
            PartCommitment(digest(p.leaf, "leaf"), p.square_norm, p.exponent) for p in m.parts
        ),
        steps=m.steps,
        loss_micro=m.loss_micro,
        local_before=_optional(m.local_before, "local_before"),
        local_after=_optional(m.local_after, "local_after"),
        memory=lines_from(m.memory),
        compute_class=_optional(m.compute_class, "compute_class"),
        cleared=_rising_digests(m.cleared),
    )


def _rising_digests(items: Sequence[bytes]) -> tuple[Digest, ...]:
    _count(items, CLEARED_MAX, "cleared")
    if any(a >= b for a, b in pairwise(items)):
        raise Malformed("what is cleared must rise strictly")
    return tuple(digest(item, "cleared commitment") for item in items)


def _held_to(held: Iterable[tuple[int, Digest]]) -> list[pb.HeldCommitment]:
    return [pb.HeldCommitment(elector=e, id=i) for e, i in held]


def _held_from(held: Sequence[pb.HeldCommitment]) -> tuple[tuple[int, Digest], ...]:
    pairs = [(h.elector, Digest(h.id)) for h in held]
    rising([elector for elector, _ in pairs], ELECTORS_MAX, "held")
    for _, id_ in pairs:
        digest(id_, "commitment id")
    return tuple(pairs)


def encode_have(h: Have) -> bytes:
    """Body of kind ``have``."""
    return pb.Have(
        view=h.view,
        held=_held_to(h.held),
        prepared=prepared_to(h.prepared) if h.prepared else None,
        nonce_hash=h.nonce_hash,
    ).SerializeToString()


def decode_have(body: bytes) -> Have:
    """Inverse of ``encode_have``."""
    m = pb.Have()
    parse(m, body, 32 * 1024)
    prepared = prepared_from(m.prepared) if m.HasField("prepared") else None
    nonce_hash = _optional(m.nonce_hash, "nonce_hash")
    return Have(check_view(m.view), _held_from(m.held), prepared, nonce_hash)


def encode_list(value: ListMessage) -> bytes:
    """Body of kind ``list``."""
    return pb.List(
        view=value.view,
        wide=value.wide,
        haves=[_signed_to(h) for h in value.haves],
        commitments=_held_to(value.commitments),
        evidence=[_evidence_to(e) for e in value.evidence],
        applications=[_signed_to(a) for a in value.applications],
        probation=[pb.PastSigned(round=s.round, signed=_signed_to(s)) for s in value.probation],
    ).SerializeToString()


def decode_list(body: bytes, job: JobId, round_: int) -> ListMessage:
    """Inverse of ``encode_list``."""
    m = pb.List()
    parse(m, body, SIGNED_BODY_BYTES_MAX)
    return ListMessage(
        view=check_view(m.view),
        wide=m.wide,
        haves=_all_signed(m.haves, job, round_, "haves"),
        commitments=_held_from(m.commitments),
        evidence=_all_evidence(m.evidence),
        applications=_applications(m.applications, job),
        probation=_probation(m.probation, job),
    )


def _applications(messages: Sequence[pb.Signed], job: JobId) -> tuple[Signed, ...]:
    _count(messages, ELECTORS_MAX, "applications")
    found = tuple(_signed_from(m, job, 0, APPLY) for m in messages)
    if any(a.signer >= b.signer for a, b in pairwise(found)):
        raise Malformed("applications must rise strictly by signer")
    return found


def _probation(messages: Sequence[pb.PastSigned], job: JobId) -> tuple[Signed, ...]:
    _count(messages, PROBATION_LISTED_MAX, "messages on probation")
    found = tuple(
        _signed_from(m.signed, job, check_round(m.round), PROBATION_KINDS) for m in messages
    )
    places = [(s.kind, s.signer, s.round, s.body) for s in found]
    if any(a >= b for a, b in pairwise(places)):
        raise Malformed("messages on probation must rise strictly by kind, signer, round and body")
    return found


def encode_screens(value: Screens) -> bytes:
    """Body of kind ``screen``."""
    return pb.Screens(
        list_id=value.list_id,
        screens=[
            pb.PartScreen(
                part=s.part,
                rows=s.rows,
                gram=s.gram,
                complaints=[pb.Complaint(elector=e, reason=r) for e, r in s.complaints],
            )
            for s in value.screens
        ],
    ).SerializeToString()


def decode_screens(body: bytes) -> Screens:
    """Inverse of ``encode_screens``."""
    m = pb.Screens()
    parse(m, body, SIGNED_BODY_BYTES_MAX)
    rising([s.part for s in m.screens], PARTS_MAX, "screens")
    screens = []
    for s in m.screens:
        rising(s.rows, ELECTORS_MAX, "rows")
        rising([c.elector for c in s.complaints], ELECTORS_MAX, "complaints")
        if len(s.gram) != 8 * len(s.rows) * (len(s.rows) + 1) // 2:
            raise Malformed("gram does not have the length that its rows demand")
        complaints = tuple((c.elector, reason(c.reason)) for c in s.complaints)
        screens.append(PartScreen(s.part, tuple(s.rows), s.gram, complaints))
    value = Screens(digest(m.list_id, "list_id"), tuple(screens))
    # A plan repeats screens whole: padding in a few of them would make it too large to send.
    if encode_screens(value) != body:
        raise Malformed("screens with unknown or reordered fields")
    return value


def encode_plan(value: Plan) -> bytes:
    """Body of kind ``plan``."""
    return pb.Plan(
        list_id=value.list_id, screens=[_signed_to(s) for s in value.screens]
    ).SerializeToString()


def decode_plan(body: bytes, job: JobId, round_: int) -> Plan:
    """Inverse of ``encode_plan``."""
    m = pb.Plan()
    parse(m, body, SIGNED_BODY_BYTES_MAX)
    return Plan(digest(m.list_id, "list_id"), _all_signed(m.screens, job, round_, "screens"))


def encode_results(value: Results) -> bytes:
    """Body of kind ``result``."""
    return pb.Results(
        plan_id=value.plan_id, results=[pb.PartResult(part=p, root=r) for p, r in value.results]
    ).SerializeToString()


def decode_results(body: bytes) -> Results:
    """Inverse of ``encode_results``."""
    m = pb.Results()
    parse(m, body, 16 * 1024)
    rising([r.part for r in m.results], PARTS_MAX, "results")
    return Results(
        digest(m.plan_id, "plan_id"), tuple((r.part, digest(r.root, "root")) for r in m.results)
    )


def encode_seal(value: Seal) -> bytes:
    """Body of kind ``seal``."""
    return pb.Seal(
        plan_id=value.plan_id, results=[_signed_to(s) for s in value.results]
    ).SerializeToString()


def decode_seal(body: bytes, job: JobId, round_: int) -> Seal:
    """Inverse of ``encode_seal``."""
    m = pb.Seal()
    parse(m, body, SIGNED_BODY_BYTES_MAX)
    return Seal(digest(m.plan_id, "plan_id"), _all_signed(m.results, job, round_, "results"))


def encode_reveal(value: Reveal) -> bytes:
    """Body of kind ``reveal``."""
    return pb.Reveal(view=value.view, seal_id=value.seal_id, nonce=value.nonce).SerializeToString()


def decode_reveal(body: bytes) -> Reveal:
    """Inverse of ``encode_reveal``."""
    m = pb.Reveal()
    parse(m, body, 128)
    return Reveal(check_view(m.view), digest(m.seal_id, "seal_id"), digest(m.nonce, "nonce"))


def encode_beacon(value: Beacon) -> bytes:
    """Body of kind ``beacon``."""
    return pb.Beacon(
        seal_id=value.seal_id, reveals=[_signed_to(s) for s in value.reveals]
    ).SerializeToString()


def decode_beacon(body: bytes, job: JobId, round_: int) -> Beacon:
    """Inverse of ``encode_beacon``."""
    m = pb.Beacon()
    parse(m, body, 32 * 1024)
    return Beacon(digest(m.seal_id, "seal_id"), _all_signed(m.reveals, job, round_, "reveals"))


def encode_sketches(value: Sketches) -> bytes:
    """Body of kind ``sketch``."""
    return pb.Sketches(beacon_id=value.beacon_id, parts=list(value.parts)).SerializeToString()


def decode_sketches(body: bytes) -> Sketches:
    """Inverse of ``encode_sketches``."""
    m = pb.Sketches()
    parse(m, body, SKETCHES_BYTES_MAX)
    _count(m.parts, PARTS_MAX, "sketches")
    value = Sketches(digest(m.beacon_id, "beacon_id"), tuple(m.parts))
    # A proposal repeats sketches whole: padding would make it too large to send.
    if encode_sketches(value) != body:
        raise Malformed("sketches with unknown or reordered fields")
    return value


def encode_proposal(value: Proposal) -> bytes:
    """Body of kind ``propose``."""
    return pb.Proposal(
        view=value.view,
        decision=value.decision,
        plan_id=value.plan_id or b"",
        results=[_signed_to(s) for s in value.results],
        haves=[_signed_to(s) for s in value.haves],
        prepared=prepared_to(value.prepared) if value.prepared else None,
        beacon_id=value.beacon_id or b"",
        sketches=[_signed_to(s) for s in value.sketches],
    ).SerializeToString()


def decode_proposal(body: bytes, job: JobId, round_: int) -> Proposal:
    """Inverse of ``encode_proposal``."""
    m = pb.Proposal()
    parse(m, body, SIGNED_BODY_BYTES_MAX)
    if len(m.decision) > DECISION_BYTES_MAX:
        raise TooLarge(f"decision of {len(m.decision)} bytes")
    return Proposal(
        view=check_view(m.view),
        decision=m.decision,
        plan_id=digest(m.plan_id, "plan_id") if m.plan_id else None,
        results=_all_signed(m.results, job, round_, "results"),
        haves=_all_signed(m.haves, job, round_, "haves"),
        prepared=prepared_from(m.prepared) if m.HasField("prepared") else None,
        beacon_id=digest(m.beacon_id, "beacon_id") if m.beacon_id else None,
        sketches=_all_signed(m.sketches, job, round_, "sketches"),
    )


def encode_vote(vote: Vote) -> bytes:
    """Body of kinds ``prepare`` and ``vote``: fixed, so that a certificate need not repeat it."""
    return vote.view.to_bytes(4, "big") + vote.decision_id


def decode_vote(body: bytes) -> Vote:
    """Inverse of ``encode_vote``."""
    if len(body) != VOTE_BYTES:
        raise Malformed(f"a vote has {VOTE_BYTES} bytes, not {len(body)}")
    return Vote(check_view(int.from_bytes(body[:4], "big")), Digest(body[4:]))


# Envelopes -------------------------------------------------------------------------------------


def _parts_from(parts: Sequence[pb.PartBytes]) -> tuple[tuple[int, bytes], ...]:
    rising([p.part for p in parts], PARTS_MAX, "parts")
    return tuple((p.part, p.data) for p in parts)


def _scatter_pieces(body: Scatter) -> list[bytes]:
    commitment = pb.Scatter(commitment=_signed_to(body.commitment)).SerializeToString()
    return [commitment, *part_fields(pb.Scatter.PARTS_FIELD_NUMBER, body.parts)]


def _spread_pieces(body: Spread) -> list[bytes]:
    result = _signed_to(body.result) if body.result else None
    return [
        pb.Spread(plan_id=body.plan_id).SerializeToString(),
        *part_fields(pb.Spread.PARTS_FIELD_NUMBER, body.parts),
        pb.Spread(result=result).SerializeToString(),
    ]


def _with_body(envelope: pb.RoundMessage, number: int, pieces: Sequence[bytes]) -> bytes:
    """``envelope``, which has no body yet, with the body ``number`` made of ``pieces``."""
    return b"".join((envelope.SerializeToString(), *nested(number, pieces)))


def encode_round(message: RoundMessage) -> bytes:
    """Bytes of one "round/1" request."""
    m = pb.RoundMessage(job=message.job, round=message.round, prev=message.prev)
    body = message.body
    if isinstance(body, Signed):
        m.signed.CopyFrom(_signed_to(body))
    elif isinstance(body, Scatter):
        return _with_body(m, m.SCATTER_FIELD_NUMBER, _scatter_pieces(body))
    elif isinstance(body, Spread):
        return _with_body(m, m.SPREAD_FIELD_NUMBER, _spread_pieces(body))
    elif isinstance(body, PrepareCertificate):
        m.prepared.CopyFrom(prepared_to(body))
    elif isinstance(body, Contradiction | ForkEvidence | Judgement):
        m.evidence.CopyFrom(_evidence_to(body))
    else:
        m.certificate.CopyFrom(certificate_to(body))
    return m.SerializeToString()


def decode_round(data: bytes) -> RoundMessage:
    """Inverse of ``encode_round``; ``data`` is peer input of at most PAYLOAD_BYTES_MAX."""
    m = pb.RoundMessage()
    parse(m, data, PAYLOAD_BYTES_MAX)
    job = JobId(digest(m.job, "job"))
    round_ = check_round(m.round)
    which = m.WhichOneof("body")
    body: RoundBody
    if which == "signed":
        body = _signed_from(m.signed, job, round_)
    elif which == "scatter":
        commitment = _signed_from(m.scatter.commitment, job, round_)
        body = Scatter(commitment, _parts_from(m.scatter.parts))
    elif which == "spread":
        result = m.spread.HasField("result")
        body = Spread(
            digest(m.spread.plan_id, "plan_id"),
            _parts_from(m.spread.parts),
            _signed_from(m.spread.result, job, round_) if result else None,
        )
    elif which == "prepared":
        body = prepared_from(m.prepared)
    elif which == "certificate":
        body = certificate_from(m.certificate)
    elif which == "evidence":
        body = _evidence_from(m.evidence)
    else:
        raise Malformed("a round message without a body")
    return RoundMessage(job, round_, digest(m.prev, "prev"), body)


def check_round(value: int) -> int:
    """Round numbers run from 1 to ROUND_MAX."""
    if not 1 <= value <= ROUND_MAX:
        raise Malformed(f"round {value} is out of range")
    return value


def encode_ack(ack: Ack) -> bytes:
    """Reply to "round/1"."""
    return pb.Ack(round=ack.round, prev=ack.prev).SerializeToString()


def decode_ack(data: bytes) -> Ack:
    """Inverse of ``encode_ack``."""
    m = pb.Ack()
    parse(m, data, 128)
    return Ack(check_round(m.round), digest(m.prev, "prev"))


def encode_fetch(request: FetchRequest) -> bytes:
    """Request of "fetch/1"."""
    return pb.FetchRequest(
        job=request.job, round=request.round, ids=list(request.ids)
    ).SerializeToString()


def decode_fetch(data: bytes) -> FetchRequest:
    """Inverse of ``encode_fetch``."""
    m = pb.FetchRequest()
    parse(m, data, 4096)
    _count(m.ids, FETCH_IDS_MAX, "ids")
    ids = tuple(digest(i, "id") for i in m.ids)
    if len(set(ids)) != len(ids):
        raise Malformed("an id is asked for twice, and would be answered twice")
    return FetchRequest(JobId(digest(m.job, "job")), check_round(m.round), ids)


def encode_fetched(reply: FetchReply) -> bytes:
    """Reply of "fetch/1"."""
    signed = pb.FetchReply(signed=[_signed_to(s) for s in reply.signed]).SerializeToString()
    return b"".join((signed, *part_fields(pb.FetchReply.PARTS_FIELD_NUMBER, reply.parts)))


def decode_fetched(data: bytes, job: JobId, round_: int) -> FetchReply:
    """Inverse of ``encode_fetched``."""
    m = pb.FetchReply()
    parse(m, data, PAYLOAD_BYTES_MAX)
    return FetchReply(_all_signed(m.signed, job, round_, "signed"), _parts_from(m.parts))
