"""One decision a round, before any adapter exists: n = 4, f = 1, and everything may go wrong."""

import numpy as np
import pytest

from node.exchange import leading, voting
from node.exchange.agreement import Agreement, Verdict
from node.exchange.decide import skip_of
from node.exchange.voting import Voting
from node.ledger.votes import decision_id
from node.wire.convert import decode_vote
from node.wire.convert_ledger import encode_decision
from simulator.machines import MachineWorld, Weather

WEATHERS = (Weather(), Weather(0.2, 0.1, 0.1, 0.02), Weather(0.3, 0.1, 0.2, 0.0))


def world(seed: int, liars: int, forgets: tuple[str, ...] = ()) -> MachineWorld:
    weather = WEATHERS[seed % len(WEATHERS)]
    return MachineWorld(4, liars, np.random.default_rng(seed), weather, forgets=forgets)


def decisions(w: MachineWorld) -> set[bytes]:
    return {id_ for ids in w.decided.values() for id_ in ids}


def breaks_agreement(seeds: range, liars: int, forgets: tuple[str, ...] = ()) -> int | None:
    """The first seed at which two honest nodes certify different decisions."""
    for seed in seeds:
        w = world(seed, liars, forgets)
        w.run(800)
        w.heal(1500)
        if len(decisions(w)) > 1:
            return seed
    return None


@pytest.mark.parametrize("liars", [0, 1])
def test_honest_nodes_certify_one_decision_and_all_of_them_do(liars: int) -> None:
    for seed in range(150):
        w = world(seed, liars)
        w.run(600)
        assert w.heal(3000), f"seed {seed}: {w.decided}"
        assert len(decisions(w)) == 1, f"seed {seed}"
        assert w.blamed <= w.liars, f"seed {seed}: an honest node was blamed"
        convicted = set().union(*w.convicted.values())
        assert convicted <= w.liars, f"seed {seed}: a crash looked like a lie"


@pytest.mark.parametrize("liars", [0, 1])
def test_rounds_that_sketches_back_certify_one_decision_too(liars: int) -> None:
    backed = 0
    for seed in range(20):
        w = MachineWorld(4, liars, np.random.default_rng(seed), WEATHERS[seed % 2], replicas=1)
        w.run(600)
        assert w.heal(3000), f"seed {seed}: {w.decided}"
        assert len(decisions(w)) == 1, f"seed {seed}"
        assert w.blamed <= w.liars, f"seed {seed}: an honest node was blamed"
        assert set().union(*w.convicted.values()) <= w.liars, f"seed {seed}"
        sent = (host.slots for host in w.hosts)
        backed += any("sketch.0" in slots for slots in sent)
    assert backed


def test_calm_round_needs_one_view_and_includes_everybody() -> None:
    w = MachineWorld(4, 0, np.random.default_rng(0), Weather(0, 0, 0, 0))
    w.run(2000)
    assert len(w.decided) == 4
    assert all(h.machine is not None and h.machine.view == 0 for h in w.hosts)
    assert all(len(h.machine.core.commitments) == 4 for h in w.hosts if h.machine)


def test_seven_nodes_survive_two_liars() -> None:
    for seed in range(10):
        w = MachineWorld(7, 2, np.random.default_rng(seed), Weather())
        w.run(1500)
        assert w.heal(6000)
        assert len(decisions(w)) == 1


def forget_lock(agreement: Agreement, view: int, id_: bytes, _prepared: object) -> Verdict:
    """``may_prepare`` without the lock."""
    earlier = agreement.prepared.get(view)
    fresh = earlier is None or decode_vote(earlier.body).decision_id == id_
    return Verdict(view == agreement.view and fresh)


def test_planted_bug_without_the_lock_breaks_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agreement, "may_prepare", forget_lock)
    monkeypatch.setattr(leading, "highest_lock", lambda _locks: None)
    monkeypatch.setattr(voting, "highest_lock", lambda _locks: None)
    assert breaks_agreement(range(400), liars=0) is not None


def ambushed(seed: int, forgets: tuple[str, ...] = ()) -> set[bytes]:
    w = MachineWorld(4, 0, np.random.default_rng(seed), Weather(), forgets=forgets)
    w.ambush(3000)
    assert len(w.decided) == 4, f"seed {seed}: the others never decided"
    return decisions(w)


def test_a_decision_survives_the_crash_of_all_who_can_speak_of_it() -> None:
    assert all(len(ambushed(seed)) == 1 for seed in range(40))


def test_planted_bug_votes_that_are_not_durable_break_agreement() -> None:
    forgets = ("prepare.", "vote.", "lock")
    assert any(len(ambushed(seed, forgets)) > 1 for seed in range(40))


def test_planted_bug_skip_that_ignores_a_lock_breaks_agreement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest_prepare, honest_lock = Agreement.may_prepare, leading.highest_lock
    honest_check = Voting._check_without_plan
    skips: set[bytes] = set()

    def may_prepare(self: Agreement, view: int, id_: bytes, prepared: object) -> Verdict:
        check = forget_lock if id_ in skips else honest_prepare
        return check(self, view, id_, prepared)

    def check(self: Voting, pending: voting.Pending) -> None:
        if pending.decision == skip_of(self._core.context, "view"):
            skips.add(decision_id(encode_decision(pending.decision)))
        else:
            honest_check(self, pending)

    def lock(locks: object) -> object:
        held = honest_lock(locks)
        return held if held is None or held.view < 1 else None

    monkeypatch.setattr(Agreement, "may_prepare", may_prepare)
    monkeypatch.setattr(Voting, "_check_without_plan", check)
    monkeypatch.setattr(leading, "highest_lock", lock)
    assert breaks_agreement(range(600), liars=0) is not None
