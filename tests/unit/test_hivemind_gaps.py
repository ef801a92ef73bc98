"""What hivemind's averager and DHT let a peer do, and Artel does not, one test a gap.

Gaps as read in hivemind's source (commit 4bd43b77); docs/attacks.md, "Known gaps elsewhere".
Lying reducers and leaders are attacked in whole swarms: tests/simulation/test_attacks_sim.py,
``wrong_slice``, ``drop_contributor``, ``censor``, ``unfair_leader``.
"""

from dataclasses import replace

import numpy as np
import pytest

from node.errors import BadSignature, Malformed, PeerError
from node.exchange.codecs import codec
from node.exchange.core import RoundRules
from node.exchange.gram import quantise_row
from node.exchange.rules import rule
from node.identity import Identity, verify
from node.jobs.encoding import Local, encode_update
from node.jobs.geometry import Geometry
from node.jobs.work import check_row
from node.ledger.chain import genesis, genesis_id, verify_next
from node.ledger.electorate import Electorate
from node.ledger.votes import COMMIT_VOTE, decision_id
from node.membership.checks import record_validator
from node.membership.record import TTL_S_MAX, decode_record, make_record
from node.membership.shelves import front_key, shelf_key
from node.membership.view import View
from node.merkle import leaf
from node.types import Digest, JobId, PeerId
from node.wire.convert import decode_commitment, encode_commitment, encode_vote
from node.wire.convert_ledger import encode_decision
from node.wire.messages import (
    Certificate,
    Commitment,
    Decision,
    PartCommitment,
    Vote,
    VoteSignature,
)

D, NOW = 64, 1_800_000_000.0
JOB = JobId(bytes(32))
NODES = [Identity(bytes([n + 1]) * 32) for n in range(4)]
PEER, OTHER = NODES[0].peer_id, NODES[1].peer_id


def geometry() -> Geometry:
    rules = RoundRules((4 * D,), (4 * D,), 2, 1, "median", 1, "mean")
    fp32 = codec("fp32")
    return Geometry(
        JOB, D, [("w", (D,))], (slice(0, D),), fp32, fp32, rules, 1, 1.0, 0.0, True, 0.0
    )


def committed(update: np.ndarray[tuple[int], np.dtype[np.float32]], steps: int = 5) -> Commitment:
    g = geometry()
    return encode_update(
        g, update, Local.new(g), round_=3, peer=PEER, prev=Digest(bytes(32)),
        root=Digest(bytes(32)), steps=steps, loss=0.0,
    ).commitment  # fmt: skip


def bound(data: bytes, round_: int = 3, peer: PeerId = PEER) -> PartCommitment:
    """What an author says of bytes that need not be an update at all."""
    return PartCommitment(leaf("update", JOB, round_, peer, 0, data), 0, 0)


def test_1_what_a_sender_declares_buys_no_weight() -> None:
    """hivemind multiplies a part by the weight that its sender declares: negative, 1e30 or NaN."""
    update = np.ones(D, np.float32)
    modest, boastful = committed(update, 1), committed(update, 2**32 - 1)
    assert modest.parts == boastful.parts
    weights = rule("geometric_median").weights(np.eye(7), 2)
    assert max(weights) < 1 / 3
    with pytest.raises(PeerError):
        decode_commitment(encode_commitment(replace(modest, steps=0)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_2_what_is_not_finite_never_reaches_a_sum(value: float) -> None:
    """hivemind adds it, and poisons the slice of all."""
    update = np.ones(D, np.float32)
    update[7] = value
    data = update.tobytes()
    assert check_row(geometry(), 3, PEER, 0, data, bound(data)) == "malformed"


@pytest.mark.parametrize("numbers", [0, 1, D - 1, D + 1])
def test_2_a_part_of_another_shape_is_refused(numbers: int) -> None:
    """hivemind broadcasts a tensor of one element, and crashes on some other sizes."""
    data = np.ones(numbers, np.float32).tobytes()
    assert check_row(geometry(), 3, PEER, 0, data, bound(data)) == "malformed"


def test_5_a_sender_chooses_no_codec() -> None:
    """hivemind decodes a part, and encodes its reply, with what the sender names."""
    other = codec("int8").encode(np.ones(D, np.float32))
    assert check_row(geometry(), 3, PEER, 0, other, bound(other)) == "malformed"


def test_7_a_part_counts_in_its_round_and_for_its_author_only() -> None:
    """hivemind's group id is bound to neither members nor step, and parts can be replayed."""
    update = np.linspace(-1, 1, D, dtype=np.float32)
    data, row = update.tobytes(), quantise_row(update)
    true = PartCommitment(bound(data).leaf, row.sq_norm, row.exponent)
    assert not isinstance(check_row(geometry(), 3, PEER, 0, data, true), str)
    assert check_row(geometry(), 4, PEER, 0, data, true) == "bad_leaf"
    assert check_row(geometry(), 3, OTHER, 0, data, true) == "bad_leaf"


def certificate(voters: list[Identity], round_: int = 1, prev: Digest | None = None) -> Certificate:
    electorate = Electorate.of(n.public_key for n in NODES)
    decision = Decision(
        job=JOB, round=round_, prev=prev or genesis_id(JOB), skip=True, skip_reason="view", rule="",
        replicas=2, plan=(), refused=(), result_roots=(), state_root=Digest(bytes(32)), credits=(),
        bans=(), electors=electorate.keys, lease_until_round=10**6, halted=False,
    )  # fmt: skip
    data = encode_decision(decision)
    body = encode_vote(Vote(0, decision_id(data)))
    votes = sorted(
        (
            VoteSignature(index, voter.sign(COMMIT_VOTE, JOB, round_, body))
            for voter in voters
            if (index := electorate.index(voter.public_key)) is not None
        ),
        key=lambda vote: vote.elector,
    )
    return Certificate(data, 0, tuple(votes))


def test_8_a_claim_to_be_ahead_moves_nobody_without_a_quorum() -> None:
    """hivemind's largest declared epoch makes all others load the declarer's model."""
    head = genesis(JOB, Electorate.of(n.public_key for n in NODES), 10**6)
    after, _ = verify_next(head, certificate(NODES[:3]), verify)
    assert after.round == 1
    for few in (NODES[:2], NODES[:1], [NODES[0]] * 3):
        with pytest.raises(PeerError):
            verify_next(head, certificate(few), verify)
    with pytest.raises(BadSignature):
        verify_next(head, certificate(NODES, round_=10**5), verify)
    with pytest.raises(BadSignature):
        verify_next(head, certificate(NODES, prev=Digest(bytes([1]) * 32)), verify)


def record(signer: Identity, sequence: int, life_s: float = 60.0) -> bytes:
    return make_record(
        signer, sequence=sequence, now=NOW, ttl_s=life_s,
        addresses=["/ip4/203.0.113.7/tcp/31330"], swarm="main",
    ).signed  # fmt: skip


def test_10_an_id_is_that_of_its_key_and_says_where_its_record_is() -> None:
    """hivemind's DHT ids are chosen freely, and any message overwrites whose they are."""
    check = record_validator("main", lambda: NOW, lambda _: JOB)
    own = record(NODES[0], 1)
    assert check(shelf_key("main", PEER), PEER, own)
    assert not check(shelf_key("main", PEER), OTHER, own)
    assert decode_record(own, swarm="main", now=NOW).peer == PEER


def test_11_what_is_unsigned_unknown_or_lives_too_long_is_not_stored() -> None:
    """hivemind stores under unprotected keys whatever anybody writes, for as long as it says."""
    check = record_validator("main", lambda: NOW, lambda _: JOB)
    front, own = front_key("main"), record(NODES[0], 1)
    assert not check("artel/main/anything", PEER, own)
    assert not check(front, PEER, own[:-1] + bytes([own[-1] ^ 1]))
    assert check(front, PEER, record(NODES[0], 1, TTL_S_MAX))
    early = record_validator("main", lambda: NOW - TTL_S_MAX, lambda _: JOB)
    assert not early(front, PEER, record(NODES[0], 1, TTL_S_MAX))
    with pytest.raises(Malformed):
        decode_record(record(NODES[0], 1, TTL_S_MAX), swarm="main", now=NOW - TTL_S_MAX)


def test_12_an_older_record_never_replaces_a_newer_one() -> None:
    """hivemind's signed records carry no sequence: an old one can be shown until it expires."""
    view = View(OTHER, 8)
    old, new = (decode_record(record(NODES[0], s), swarm="main", now=NOW) for s in (1, 2))
    assert view.learn(new, NOW).ok
    assert view.learn(old, NOW).reason == "older"
