"""Every decoder of a peer's bytes: a value or a PeerError, and memory within the limit."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from node.errors import PeerError
from node.jobs.manifest import (
    MANIFEST_BYTES_MAX,
    SIGNED_MANIFEST_BYTES_MAX,
    canonical_bytes,
    decode_signed_manifest,
    job_id,
    manifest_from_canonical,
    parse_manifest,
    sign_manifest,
)
from node.membership.record import (
    EXCHANGE_BYTES_MAX,
    SIGNED_RECORD_BYTES_MAX,
    decode_exchange,
    decode_record,
    encode_exchange,
    make_record,
)
from node.types import Digest, JobId
from node.wire import convert, convert_ledger, exchange_pb2, ledger_pb2, limits, peer_pb2
from node.wire.chain_messages import Ack, ChainRequest, StateRequest
from node.wire.messages import FetchRequest
from simulator.host.signer import KeyedSigner, verify
from simulator.machines import JOB

ID = Digest(bytes(range(32)))
NOW = 1e9
SIGNER = KeyedSigner(bytes(range(32)))
pb, ledger = exchange_pb2, ledger_pb2

Target = tuple[Callable[[bytes], Any], int, type[Message] | None]
"""(decoder, declared limit in bytes, class of the message)."""


def _signed_body(decode: Callable[..., Any]) -> Callable[[bytes], Any]:
    return lambda data: decode(data, JOB, 1)


BODY = limits.SIGNED_BODY_BYTES_MAX
TARGETS: dict[str, Target] = {
    "evidence": (convert.decode_evidence, limits.EVIDENCE_BYTES_MAX, pb.Evidence),
    "round": (convert.decode_round, limits.PAYLOAD_BYTES_MAX, pb.RoundMessage),
    "signed": (_signed_body(convert.decode_signed), BODY, pb.Signed),
    "commit": (convert.decode_commitment, 16 * 1024, pb.Commitment),
    "have": (convert.decode_have, 32 * 1024, pb.Have),
    "list": (_signed_body(convert.decode_list), BODY, pb.List),
    "screen": (convert.decode_screens, BODY, pb.Screens),
    "plan": (_signed_body(convert.decode_plan), BODY, pb.Plan),
    "result": (convert.decode_results, 16 * 1024, pb.Results),
    "seal": (_signed_body(convert.decode_seal), BODY, pb.Seal),
    "reveal": (convert.decode_reveal, 128, pb.Reveal),
    "beacon": (_signed_body(convert.decode_beacon), 32 * 1024, pb.Beacon),
    "sketch": (convert.decode_sketches, limits.SKETCHES_BYTES_MAX, pb.Sketches),
    "propose": (_signed_body(convert.decode_proposal), BODY, pb.Proposal),
    "vote": (convert.decode_vote, convert.VOTE_BYTES, None),
    "ack": (convert.decode_ack, 128, pb.Ack),
    "fetch": (convert.decode_fetch, 4096, pb.FetchRequest),
    "fetched": (_signed_body(convert.decode_fetched), limits.PAYLOAD_BYTES_MAX, pb.FetchReply),
    "prepared": (convert_ledger.decode_prepared, 16 * 1024, ledger.PrepareCertificate),
    "certificate": (convert_ledger.decode_certificate, 80 * 1024, ledger.Certificate),
    "decision": (convert_ledger.decode_decision, limits.DECISION_BYTES_MAX, ledger.Decision),
    "chain_request": (convert_ledger.decode_chain_request, 128, ledger.ChainRequest),
    "chain": (convert_ledger.decode_chain, limits.CHAIN_REPLY_BYTES_MAX, ledger.ChainReply),
    "state_request": (convert_ledger.decode_state_request, 32 * 1024, ledger.StateRequest),
    "state_reply": (
        convert_ledger.decode_state_reply, limits.STATE_CHUNKS_MAX * 40, ledger.StateReply
    ),
    "record": (
        lambda data: decode_record(data, swarm="main", now=NOW, verifier=verify),
        SIGNED_RECORD_BYTES_MAX,
        peer_pb2.SignedRecord,
    ),
    "exchange": (decode_exchange, EXCHANGE_BYTES_MAX, peer_pb2.PeerExchangeRequest),
    "signed_manifest": (
        lambda data: decode_signed_manifest(data, verify),
        SIGNED_MANIFEST_BYTES_MAX,
        peer_pb2.SignedManifest,
    ),
}  # fmt: skip

TEXT = '[job]\nname = "cat"\nworkload = "inr"\nrounds = 9\n[workload]\nx = [1, {y = 2.5}]\n'


def manifest_bytes() -> bytes:
    return canonical_bytes(parse_manifest(TEXT, {}))


def record_bytes() -> bytes:
    return make_record(
        SIGNER, sequence=5, now=NOW, ttl_s=60.0, addresses=["/ip4/1.2.3.4/tcp/5"], swarm="main",
        jobs=[JobId(ID)], version="1.0",
    ).signed  # fmt: skip


def record_body() -> bytes:
    return peer_pb2.SignedRecord.FromString(record_bytes()).record


def templates(name: str, sent: dict[str, list[bytes]]) -> list[bytes]:
    """Valid inputs of a target."""
    flat = [data for messages in sent.values() for data in messages]
    rounds = [pb.RoundMessage.FromString(data) for data in flat]
    certificates = [m.certificate for m in rounds if m.WhichOneof("body") == "certificate"]
    spreads = [m.spread.parts for m in rounds if m.WhichOneof("body") == "spread"]
    signed = [m.signed for m in rounds if m.WhichOneof("body") == "signed"]
    made: dict[str, Callable[[], list[bytes]]] = {
        "round": lambda: flat,
        "evidence": lambda: [
            m.evidence.SerializeToString(deterministic=True)
            for m in rounds
            if m.WhichOneof("body") == "evidence"
        ],
        "signed": lambda: [s.SerializeToString() for s in signed],
        "ack": lambda: [convert.encode_ack(Ack(1, ID))],
        "fetch": lambda: [convert.encode_fetch(FetchRequest(JOB, 1, (ID, JobId(bytes(32)))))],
        "fetched": lambda: [
            pb.FetchReply(signed=[s], parts=spreads[0]).SerializeToString() for s in signed
        ],
        "prepared": lambda: [
            m.prepared.SerializeToString() for m in rounds if m.WhichOneof("body") == "prepared"
        ],
        "certificate": lambda: [c.SerializeToString() for c in certificates],
        "decision": lambda: [c.decision for c in certificates],
        "chain_request": lambda: [convert_ledger.encode_chain_request(ChainRequest(JOB, 1, 9))],
        "chain": lambda: [ledger.ChainReply(certificates=certificates[:3]).SerializeToString()],
        "state_request": lambda: [
            convert_ledger.encode_state_request(StateRequest(JOB, ID, (0, 2, 9)))
        ],
        "state_reply": lambda: [convert_ledger.encode_state_reply([ID, ID])],
        "record": lambda: [record_bytes()],
        "exchange": lambda: [encode_exchange([record_bytes()] * 3)],
        "signed_manifest": lambda: [sign_manifest(parse_manifest(TEXT, {}), SIGNER).encode()],
    }
    if name in made:
        return made[name]()
    return [m.signed.body for m in map(pb.RoundMessage.FromString, sent[name])]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_decoder_of_peer_bytes_raises_nothing_but_peer_errors(
    name: str, fuzz: Any, sent: dict[str, list[bytes]]
) -> None:
    decode, limit, kind = TARGETS[name]
    valid = templates(name, sent)
    for data in valid:
        decode(data)
    mutator = fuzz.Mutator(SIGNER.public_key, JOB, 1, [ID, bytes(32), b""])
    accepted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal accepted
        how = c.pick(8)
        data = c.of(valid)
        if how == 0:
            data = noise
        elif how < 3 or kind is None:
            data = fuzz.mangled(data, c)
        else:
            m = kind.FromString(data)
            for _ in range(c.pick(3)):
                mutator.mutate(m, c)
            sign_changed(m, mutator, c)
            data = m.SerializeToString()
        accepted += fuzz.refuses(lambda: decode(data), min(limit, 64 * len(data))) is not None

    fuzz.run(0.4 / len(TARGETS), case)
    assert accepted > 0, "no mutation came through: they are too coarse to reach a check"


def sign_changed(m: Message, mutator: Any, c: Any) -> None:
    """Change what is under a signature, and sign it, so that the checks behind it are reached."""
    if isinstance(m, peer_pb2.SignedRecord) and c.pick(4):
        record = peer_pb2.PeerRecord.FromString(record_body())
        for _ in range(c.pick(3)):
            mutator.mutate(record, c)
        m.record = record.SerializeToString()
        m.signature = SIGNER.sign("record", bytes(32), 0, m.record)
    elif isinstance(m, peer_pb2.SignedManifest) and c.pick(4):
        m.proposer = SIGNER.public_key
        m.signature = SIGNER.sign("manifest", job_id(m.manifest), 0, m.manifest)


def set_somewhere(tree: Any, c: Any) -> None:
    """Change one value of a JSON tree, or add one, in place."""
    odd = (
        None, True, 0, -1, 2**63, 2**64, 1e308, float("inf"), float("nan"), "", "\ud800", "a" * 70,
        "é", [], {}, [[[[[[[[[[1]]]]]]]]]], {"": 1}, {"k\n": 1}, ["x"] * 65, "12D3KooW",
    )  # fmt: skip
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = c.of(keys)
        if isinstance(tree[key], dict | list) and tree[key] and c.pick(6):
            tree = tree[key]
            continue
        how = c.pick(8)
        if how == 0:
            del tree[key]
        elif how == 1 and isinstance(tree, dict):
            tree[c.of(("x", "", "\ud800", "é", "a" * 65, "__class__"))] = c.of(odd)
        else:
            tree[key] = c.of(odd)
        return


def test_a_manifest_of_a_peer_raises_nothing_but_peer_errors(fuzz: Any) -> None:
    manifest_from_canonical(manifest_bytes())
    accepted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal accepted
        how = c.pick(10)
        if how == 0:
            data = noise
        elif how == 1:
            data = fuzz.mangled(manifest_bytes(), c)
        elif how == 2:
            depth = c.pick(MANIFEST_BYTES_MAX)
            data = c.of((b"[", b'{"job":', b"9", b"-", b'"\\ud800')) * depth
        else:
            tree = json.loads(manifest_bytes())
            for _ in range(c.pick(3)):
                set_somewhere(tree, c)
            data = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
        if (found := fuzz.refuses(lambda: manifest_from_canonical(data), 4 << 20)) is not None:
            accepted += 1
            assert canonical_bytes(found) == data

    fuzz.run(0.06, case)
    assert accepted > 0


def test_what_a_refusal_says_can_be_sent_to_whoever_is_refused(fuzz: Any) -> None:
    def case(c: Any, noise: bytes) -> None:
        tree = json.loads(manifest_bytes())
        set_somewhere(tree, c)
        data = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
        try:
            manifest_from_canonical(data)
        except PeerError as error:
            str(error).encode()

    fuzz.run(0.02, case)
