"""Bugs in the votes: locks, quorums, signatures, leaders."""

from contextlib import ExitStack

from mutant_kit import Mutant, swap, swap_function
from mutant_stage import (
    FaultSection,
    LeaderFallsAfterLock,
    LinkSection,
    stage,
)

from node.errors import PeerError
from node.exchange.agreement import Agreement, Verdict, highest_lock
from node.exchange.core import RoundCore
from node.exchange.decide import decision_of
from node.exchange.proposing import Proposing
from node.exchange.round import RoundMachine
from node.exchange.views import VIEW_TIMER, ViewClock
from node.exchange.voting import Voting
from node.jobs.runner import JobRunner
from node.ledger import votes
from node.ledger.electorate import Electorate
from node.wire.chain_messages import Ack
from simulator.scenario import load_scenario


def _blind_prepare(self, view, id_, prepared):
    earlier = self.prepared.get(view)
    fresh = earlier is None or earlier.body[4:] == id_
    return Verdict(view == self.view and fresh)


def no_lock() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(swap_function(highest_lock, lambda locks: None))
    stack.enter_context(swap(Agreement, "may_prepare", _blind_prepare))
    return stack


def skip_ignores_lock() -> ExitStack:
    def again(self, view, haves):
        self._core.once("lead", view)
        self.skip(view, "too_few", haves)

    stack = ExitStack()
    stack.enter_context(swap(Proposing, "again", again))
    stack.enter_context(swap(Voting, "_check_without_plan", lambda self, pending: None))
    stack.enter_context(swap(Agreement, "may_prepare", _blind_prepare))
    return stack


def quorum_off_by_one():
    return swap(Electorate, "quorum", property(lambda self: max(1, -(-2 * self.n // 3) - 1)))


def missing_signature_check():
    def elector_of(self, signed):
        index = self.electorate.index(signed.signer)
        if index is None:
            raise PeerError("a stranger")
        return index

    stack = ExitStack()
    stack.enter_context(swap(RoundCore, "elector_of", elector_of))
    stack.enter_context(swap(votes, "_check_quorum", lambda *_: None))
    return stack


def electorate_from_list():
    def wrong(context, plan, rule, roots, state_root, commitments):
        from dataclasses import replace

        right = decision_of(context, plan, rule, roots, state_root, commitments)
        return replace(right, electors=tuple(context.electorate.keys[e] for e, _ in plan.listed))

    return swap_function(decision_of, wrong)


def leader_never_replaced():
    return swap(Electorate, "leader", lambda self, round_, view: round_ % self.n)


def stale_round_accepted():
    right = JobRunner.on_message

    def on_message(self, peer, message, size):
        if message.round == self.round_now - 1 and self.flow is not None:
            self.flow.take(self.head.electorate.ids.index(peer), message.body)
            return Ack(self.round_now, self.head.id)
        return right(self, peer, message, size)

    return swap(JobRunner, "on_message", on_message)


def peer_error_escapes():
    return swap(RoundMachine, "_take", lambda self, sender, body: self._dispatch(sender, body))


def clock_before_quorum():
    def heard(self):
        view = self._core.agreement.view
        if self._core.once(VIEW_TIMER, view):
            self._calls = 0
            self._start(VIEW_TIMER)

    return swap(ViewClock, "heard", heard)


DEAD = FaultSection(kind="crash", nodes="leader", round=3, phase="have", for_s=250.0)
LATE = FaultSection(
    kind="link", nodes=(0,), both=False, round=3, for_s=60.0, link=LinkSection(latency_s=0.6)
)

VOTES = (
    Mutant(
        "no_lock", "Leaders and voters ignore locks.", ("lock_rule", "one_decision"),
        no_lock, stage(), (LeaderFallsAfterLock,),
    ),
    Mutant(
        "skip_ignores_lock", "After a failed view a SKIP is proposed and prepared over a lock.",
        ("lock_rule", "one_decision"), skip_ignores_lock, stage(), (LeaderFallsAfterLock,),
    ),
    Mutant(
        "quorum_off_by_one", "One vote too few makes a quorum.", ("quorum",),
        quorum_off_by_one, stage(),
    ),
    Mutant(
        "missing_signature_check", "Votes count whoever signed them.", ("quorum",),
        missing_signature_check, stage(attack="bad_signatures"),
    ),
    Mutant(
        "electorate_from_list", "The next electorate is whoever the leader lists.",
        ("electorate",), electorate_from_list, stage(faults=[DEAD]),
    ),
    Mutant(
        "leader_never_replaced", "A view change keeps the leader.", ("progress", "recovery"),
        leader_never_replaced, stage(faults=[DEAD]),
    ),
    Mutant(
        "stale_round_accepted", "Messages of the last round are taken into this one.",
        ("no_false_blame",), stale_round_accepted,
        stage(7, 12, faults=[LATE]),
    ),
    Mutant(
        "peer_error_escapes", "A liar's malformed message ends the daemon.",
        ("only_peer_errors",), peer_error_escapes, stage(attack="bad_signatures"),
    ),
    Mutant(
        "clock_before_quorum", "A view's clock starts before a quorum has come to it.",
        ("progress", "recovery", "finish"), clock_before_quorum,
        load_scenario("exact_quorum", {"limit_s": "700"}),
    ),
)  # fmt: skip
