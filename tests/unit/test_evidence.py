"""Evidence: two messages of one key for one slot convict it, and nothing else convicts anybody."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.cli.evidence import verify_evidence
from node.errors import PeerError
from node.exchange.watching import SLOTS_PER_ELECTOR_MAX, Watch
from node.identity import Identity, verify
from node.jobs.proofs import PREFIX, Gate, Proofs
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused, contradiction, offender, slot_of
from node.types import Digest, JobId, PeerId
from node.wire import exchange_pb2 as pb
from node.wire.convert import (
    decode_evidence,
    encode_beacon,
    encode_commitment,
    encode_evidence,
    encode_have,
    encode_list,
    encode_plan,
    encode_proposal,
    encode_results,
    encode_reveal,
    encode_screens,
    encode_seal,
    encode_sketches,
    encode_vote,
)
from node.wire.limits import EVIDENCE_BYTES_MAX
from node.wire.messages import (
    Beacon,
    Commitment,
    Contradiction,
    Evidence,
    Have,
    ListMessage,
    PartCommitment,
    PartScreen,
    Plan,
    Proposal,
    Results,
    Reveal,
    Screens,
    Seal,
    Signed,
    Sketches,
    Vote,
)
from simulator.host.store import SimStore

JOB, OTHER_JOB = JobId(bytes(32)), JobId(b"\1" * 32)
LIAR, VICTIM = Identity(b"\1" * 32), Identity(b"\2" * 32)
A, B = Digest(b"a" * 32), Digest(b"b" * 32)


def signed(
    kind: str, body: bytes, by: Identity = LIAR, job: JobId = JOB, round_: int = 3
) -> Signed:
    return Signed(kind, job, round_, by.public_key, body, by.sign(kind, job, round_, body))


def commitment(leaf: bytes) -> bytes:
    return encode_commitment(Commitment(A, B, (PartCommitment(Digest(leaf * 32), 1, 0),), 1, 0))


BODIES: dict[str, Callable[[int, bytes], bytes]] = {
    "commit": lambda place, word: commitment(word),
    "have": lambda place, word: encode_have(Have(place, ((0, Digest(word * 32)),), None)),
    "list": lambda place, word: encode_list(
        ListMessage(place, False, (), ((1, Digest(word * 32)),))
    ),
    "screen": lambda place, word: encode_screens(
        Screens(Digest(bytes([place]) * 32), (PartScreen(word[0] % 64, (), b"", ()),))
    ),
    "plan": lambda place, word: encode_plan(
        Plan(Digest(bytes([place]) * 32), (signed("vote", word * 36),))
    ),
    "result": lambda place, word: encode_results(
        Results(Digest(bytes([place]) * 32), ((0, Digest(word * 32)),))
    ),
    "seal": lambda place, word: encode_seal(
        Seal(Digest(bytes([place]) * 32), (signed("vote", word * 36),))
    ),
    "reveal": lambda place, word: encode_reveal(Reveal(place, Digest(word * 32), word * 32)),
    "beacon": lambda place, word: encode_beacon(
        Beacon(Digest(bytes([place]) * 32), (signed("reveal", word * 36),))
    ),
    "sketch": lambda place, word: encode_sketches(
        Sketches(Digest(bytes([place]) * 32), (word * 4,))
    ),
    "propose": lambda place, word: encode_proposal(Proposal(place, word, None, (), (), None)),
    "prepare": lambda place, word: encode_vote(Vote(place, Digest(word * 32))),
    "vote": lambda place, word: encode_vote(Vote(place, Digest(word * 32))),
}
"""Kind -> (place, word) -> a body: equal places are one slot, words tell bodies apart."""


def pair(kind: str, by: Identity = LIAR) -> Contradiction:
    body = BODIES[kind]
    found = contradiction(signed(kind, body(1, b"y"), by), signed(kind, body(1, b"x"), by))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_two_messages_for_one_slot_convict_their_signer_and_travel_whole(kind: str) -> None:
    found = decode_evidence(encode_evidence(pair(kind)))
    assert found == pair(kind)
    assert offender(found, verify) == accused(found) == LIAR.public_key


@pytest.mark.parametrize("kind", sorted(set(BODIES) - {"commit"}))
def test_two_slots_may_both_be_filled(kind: str) -> None:
    a, b = signed(kind, BODIES[kind](1, b"x")), signed(kind, BODIES[kind](2, b"y"))
    assert slot_of(a) != slot_of(b)
    refused(contradiction(a, b))


def test_a_narrow_and_a_wide_list_are_two_slots() -> None:
    lists = [signed("list", encode_list(ListMessage(1, wide, (), ()))) for wide in (False, True)]
    refused(contradiction(*lists))


def refused(evidence: Evidence | None) -> None:
    assert evidence is not None
    with pytest.raises(PeerError):
        offender(evidence, verify)


Kinds = st.sampled_from(sorted(BODIES))


@given(Kinds, st.sampled_from(["first", "second"]), st.data())
@settings(max_examples=150, deadline=None)
def test_every_other_pair_convicts_nobody(kind: str, side: str, data: st.DataObject) -> None:
    good = pair(kind)
    one: Signed = getattr(good, side)
    how = data.draw(st.sampled_from(range(9)))
    if how == 0:  # forged in the victim's name
        one = replace(one, signer=VICTIM.public_key)
    elif how == 1:
        at = data.draw(st.integers(0, 63))
        signature = bytes([*one.signature[:at], one.signature[at] ^ 1, *one.signature[at + 1 :]])
        one = replace(one, signature=signature)
    elif how == 2:
        one = replace(one, body=one.body[: data.draw(st.integers(0, len(one.body) - 1))])
    elif how == 3:  # true words of another round or job
        one = signed(kind, one.body, round_=4) if data.draw(st.booleans()) else one
        one = signed(kind, one.body, job=OTHER_JOB) if one.round == 3 else one
    elif how == 4:  # another signer's true words
        one = signed(kind, one.body, VICTIM)
    elif how == 5:  # signatures exchanged
        other = good.second if side == "first" else good.first
        one = replace(one, signature=other.signature)
    elif how == 6:  # the same words twice
        refused(Contradiction(one, one))
        return
    elif how == 7:  # swapped
        refused(Contradiction(good.second, good.first))
        return
    else:  # another kind, truly signed
        other_kind = data.draw(st.sampled_from(sorted(set(BODIES) - {kind})))
        one = signed(other_kind, BODIES[other_kind](1, b"z"))
    refused(replace(good, **{side: one}))


@given(Kinds, st.data())
@settings(max_examples=100, deadline=None)
def test_changed_bytes_of_evidence_convict_nobody(kind: str, data: st.DataObject) -> None:
    encoded = encode_evidence(pair(kind))
    at = data.draw(st.integers(0, len(encoded) - 1))
    cut = data.draw(st.booleans())
    changed = encoded[:at] if cut else encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
    with pytest.raises(PeerError):
        offender(decode_evidence(changed), verify)


def test_evidence_has_one_spelling_and_a_limit() -> None:
    encoded = encode_evidence(pair("vote"))
    padded = pb.Evidence.FromString(encoded)
    padded.round = 0
    for data in (encoded + b"\x7a\x04junk", padded.SerializeToString(), bytes(EVIDENCE_BYTES_MAX)):
        with pytest.raises(PeerError):
            decode_evidence(data)
    long = [signed("propose", BODIES["propose"](1, word * 60_000)) for word in (b"xyz", b"abc")]
    assert contradiction(*long) is None


def test_a_list_carries_evidence_of_any_round_and_job() -> None:
    proofs = (pair("commit"), pair("vote", VICTIM))
    body = encode_list(ListMessage(0, True, (), (), proofs))
    from node.wire.convert import decode_list

    assert decode_list(body, OTHER_JOB, 9).evidence == proofs


# Watching ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_a_contradiction_is_seen_whatever_came_between(kind: str) -> None:
    watch, body = Watch(), BODIES[kind]
    places = [0] if kind == "commit" else [0, 1, 2]
    for place in places:
        assert watch.see(5, signed(kind, body(place, b"x"))) is None
        assert watch.see(5, signed(kind, body(place, b"x"))) is None  # word for word
    for place in places:
        found = watch.see(5, signed(kind, body(place, b"y")))
        assert found is not None
        assert offender(found, verify) == LIAR.public_key


def test_watching_is_bounded_and_a_flood_of_slots_does_not_hide_a_commitment() -> None:
    watch = Watch()
    for view in range(SLOTS_PER_ELECTOR_MAX + 9):
        body = encode_vote(Vote(view, A))
        assert watch.see(0, Signed("vote", JOB, 3, LIAR.public_key, body, bytes(64))) is None
    late = Signed("vote", JOB, 3, LIAR.public_key, encode_vote(Vote(10**6, A)), bytes(64))
    assert watch.see(0, late) is None
    assert watch.see(0, replace(late, body=encode_vote(Vote(10**6, B)))) is None, "beyond the limit"
    assert watch.see(0, signed("commit", commitment(b"x"))) is None
    assert watch.see(0, signed("commit", commitment(b"y"))) is not None


def test_what_does_not_decode_is_no_evidence() -> None:
    watch = Watch()
    assert watch.see(0, signed("commit", b"junk")) is None
    assert watch.see(0, signed("commit", commitment(b"x"))) is None
    assert watch.see(0, signed("commit", b"other junk")) is None
    assert watch.see(0, signed("commit", commitment(b"y"))) is not None


# On disk, and at the gate -----------------------------------------------------------------------


def store() -> Any:
    return SimStore(0.0, 1 << 20).open(PeerId("x"))


async def test_evidence_outlives_a_restart_and_a_faulty_disk_convicts_nobody() -> None:
    disk, told = store(), []
    proofs = Proofs(disk, verify, lambda peer, why: told.append(peer))
    await proofs.add(pair("vote"))
    await proofs.add(pair("commit"))  # one piece a key
    assert told == [LIAR.peer_id]
    forged = replace(pair("vote", VICTIM).first, signer=Identity(b"\3" * 32).public_key)
    bad = encode_evidence(Contradiction(forged, pair("vote", VICTIM).second))
    await disk.put({PREFIX + VICTIM.peer_id: bad})
    again = Proofs(disk, verify, lambda peer, why: told.append(peer))
    await again.load()
    assert again.held == {LIAR.peer_id: pair("vote")}
    assert told == [LIAR.peer_id] * 2
    electorate = Electorate.of([VICTIM.public_key, LIAR.public_key])
    index = electorate.index(LIAR.public_key)
    assert again.against(electorate, JOB) == {index: pair("vote")}


class Line:
    """A transport that keeps what it is told to serve."""

    def __init__(self) -> None:
        self.served: dict[str, Any] = {}

    def serve(self, method: str, handler: Any, **limits: Any) -> None:
        self.served[method] = handler

    serve_stream = serve


async def test_the_gate_refuses_every_method_of_a_convicted_peer_and_no_other() -> None:
    line, convicted = Line(), {}
    gate = Gate(line, convicted)  # type: ignore[arg-type]

    async def answer(caller: PeerId, request: bytes) -> bytes:
        return request

    async def chunks(caller: PeerId, request: bytes) -> Any:
        yield request

    gate.serve("m/1", answer, request_bytes_max=9)
    gate.serve_stream("s/1", chunks, request_bytes_max=9)
    assert await line.served["m/1"](LIAR.peer_id, b"x") == b"x"
    convicted[LIAR.peer_id] = pair("vote")
    with pytest.raises(PeerError, match="banned"):
        await line.served["m/1"](LIAR.peer_id, b"x")
    with pytest.raises(PeerError, match="banned"):
        [chunk async for chunk in line.served["s/1"](LIAR.peer_id, b"x")]
    assert await line.served["m/1"](VICTIM.peer_id, b"x") == b"x"
    assert [chunk async for chunk in line.served["s/1"](VICTIM.peer_id, b"x")] == [b"x"]


# Alone ------------------------------------------------------------------------------------------


def test_a_third_party_verifies_a_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(encode_evidence(pair("prepare")))
    bad.write_bytes(encode_evidence(pair("prepare"))[:-1])
    assert verify_evidence(good, None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["peer"], found["round"]) == (True, LIAR.peer_id, 3)
    assert (found["kind"], found["slot"]) == ("prepare", ["prepare", 1])
    assert verify_evidence(bad, None, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["valid"] is False
    assert verify_evidence(good, None, as_json=False) == 0
    assert capsys.readouterr().out.startswith(f"VALID: {LIAR.peer_id} signed two messages")
