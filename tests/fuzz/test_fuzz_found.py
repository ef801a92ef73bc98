"""Each fault that fuzzing or reading for it has found, as the smallest input that showed it."""

from collections.abc import Callable

import numpy as np
import pytest

from node.errors import Malformed, TooLarge
from node.exchange.arriving import RESULTS_KEPT_MAX
from node.exchange.effects import Blame, Effect
from node.exchange.gram import EXPONENT_MAX, EXPONENT_MIN
from node.exchange.round import RoundMachine
from node.ledger.chain import genesis_id
from node.merkle import digest
from node.types import Digest
from node.wire import convert, convert_ledger
from node.wire import exchange_pb2 as pb
from node.wire.fields import FIELDS_MAX, UNCOUNTED_BYTES
from node.wire.messages import (
    Commitment,
    Decision,
    FetchReply,
    FetchRequest,
    PartCommitment,
    Plan,
    Scatter,
    Screens,
    Signed,
    Spread,
)
from simulator.host.signer import KeyedSigner
from simulator.machines import JOB, MachineWorld, Weather

LIAR = 3
ID = Digest(bytes(range(32)))


def world() -> MachineWorld:
    return MachineWorld(4, 0, np.random.default_rng(0), Weather(0, 0, 0, 0))


def machine(w: MachineWorld, elector: int) -> RoundMachine:
    found = w.hosts[elector].machine
    assert found is not None
    return found


def signed(w: MachineWorld, kind: str, body: bytes, elector: int = LIAR) -> Signed:
    signer = KeyedSigner(w.electorate.keys[elector][0])
    return Signed(kind, JOB, 1, signer.public_key, body, signer.sign(kind, JOB, 1, body))


def blamed(effects: list[Effect]) -> list[int]:
    return [e.elector for e in effects if isinstance(e, Blame)]


def commitment_body(w: MachineWorld, exponent: int = 0, stamp: bytes = b"") -> bytes:
    part = PartCommitment(digest("leaf", stamp), 1, exponent)
    return convert.encode_commitment(
        Commitment(genesis_id(JOB), digest("state", b"0"), (part,), 1, 0)
    )


def listed(w: MachineWorld) -> Signed:
    """The honest leader's list, before anybody else heard of it."""
    leader = machine(w, 1)
    while not leader.core.lists:
        w._step(w.weather)
    return leader.core.signed[next(iter(leader.core.lists))]


def test_a_forged_message_in_a_fetch_reply_does_not_frame_the_signer_that_it_names() -> None:
    w = world()
    forged = Signed("commit", JOB, 1, w.electorate.keys[2][0], commitment_body(w), bytes(64))
    effects = machine(w, 0).on_fetched(FetchReply((forged,), ()), ())
    assert blamed(effects) == []
    assert forged.id not in machine(w, 0).core.opened


def test_a_plan_for_another_leaders_list_is_blamed_on_its_signer_and_displaces_no_plan() -> None:
    w = world()
    list_ = listed(w)
    victim = machine(w, 0)
    plan = convert.encode_plan(Plan(list_.id, ()))
    assert blamed(victim.on_message(1, signed(w, "plan", plan, 1))) == []  # waits for its list
    assert blamed(victim.on_message(LIAR, signed(w, "plan", plan))) == []
    effects = victim.on_message(1, list_)
    assert blamed(effects) == [1, LIAR]  # the leader's own plan was looked at too: it is empty


def test_a_commitment_signed_as_something_else_is_no_commitment() -> None:
    w = world()
    scattered = Scatter(signed(w, "vote", commitment_body(w)), ())
    assert blamed(machine(w, 0).on_message(LIAR, scattered)) == [LIAR]
    assert LIAR not in machine(w, 0).core.commitments
    assert LIAR not in machine(w, 0).core.convictions.held


def test_screens_cannot_be_padded_until_a_plan_of_them_is_too_large() -> None:
    body = convert.encode_screens(Screens(ID, ()))
    assert convert.decode_screens(body) == Screens(ID, ())
    with pytest.raises(Malformed, match="unknown"):
        convert.decode_screens(body + b"\x7a\x04junk")


def empty_parts(count: int) -> bytes:
    m = pb.RoundMessage(job=bytes(32), round=1, prev=bytes(32))
    m.scatter.commitment.kind = "commit"
    m.scatter.parts.extend([pb.PartBytes()] * count)
    return m.SerializeToString()


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (convert.decode_round, empty_parts(FIELDS_MAX)),
        (lambda data: convert.decode_list(data, JOB, 1), b"\x1a\x00" * UNCOUNTED_BYTES),
        (convert_ledger.decode_chain, b"\x0a\x00" * UNCOUNTED_BYTES),
    ],
)
def test_many_empty_fields_are_refused_before_they_are_parsed(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with pytest.raises(TooLarge, match="fields"):
        decode(data)


@pytest.mark.parametrize("tail", [b"\x0b", b"\x0a\xff\xff\xff\x7f", b"\xff" * 11, b"\x08"])
def test_a_long_message_with_a_broken_end_is_malformed(tail: bytes) -> None:
    data = pb.Signed(body=bytes(UNCOUNTED_BYTES)).SerializeToString() + tail
    with pytest.raises(Malformed):
        convert.decode_signed(data, JOB, 1)


def test_an_id_cannot_be_asked_for_twice_in_one_request() -> None:
    with pytest.raises(Malformed, match="twice"):
        convert.decode_fetch(convert.encode_fetch(FetchRequest(JOB, 1, (ID, ID))))


def test_an_electorate_that_is_unsorted_or_repeats_is_no_decision() -> None:
    first, second = world().electorate.keys[:2]
    for electors in ((second, first), (first, first)):
        decision = Decision(
            JOB, 1, ID, True, "view", "", 1, (), (), (), ID, (), (), electors, 9, False
        )  # fmt: skip
        with pytest.raises(Malformed, match="sorted"):
            convert_ledger.decode_decision(convert_ledger.encode_decision(decision))


@pytest.mark.parametrize("exponent", [EXPONENT_MIN - 1, EXPONENT_MAX + 1])
def test_an_exponent_that_no_row_can_have_is_refused_with_the_commitment(exponent: int) -> None:
    with pytest.raises(Malformed, match="exponent"):
        convert.decode_commitment(commitment_body(world(), exponent))


def test_results_that_nobody_asked_for_are_not_kept_without_limit() -> None:
    w = world()
    victim = machine(w, 0)
    for k in range(10 * RESULTS_KEPT_MAX):
        data = k.to_bytes(4, "big")
        plan_id = digest("plan", data)
        victim.on_spread(LIAR, Spread(plan_id, ((0, data),), None), [digest("part", data)])
    assert len(victim.core.results) == RESULTS_KEPT_MAX
