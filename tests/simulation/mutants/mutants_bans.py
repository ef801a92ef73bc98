"""Bugs in evidence, bans and the succession of electorates."""

from dataclasses import replace

from mutant_kit import Mutant, swap, swap_function
from mutant_stage import stage

from node.exchange import convictions, decide, leading, voting
from node.jobs.proofs import Proofs
from node.ledger import succession
from node.ledger.admission import Door
from node.ledger.evidence import accused


def evidence_not_durable():
    async def add(self, evidence):
        self._hold(evidence)

    return swap(Proofs, "add", add)


def evidence_unverified():
    return swap(convictions, "offender", lambda evidence, *_: accused(evidence))


def banned_stays():
    right = succession.next_electorate
    return swap_function(
        right,
        lambda electorate, plan, refused, bans, *more: right(electorate, plan, refused, (), *more),
    )


def accuser_bans_another():
    """The ban falls on the elector after the one that the evidence convicts."""
    from contextlib import ExitStack

    right, stack = decide.decision_of, ExitStack()

    def decision_of(context, plan, *rest):
        keys = [key for key, _ in context.electorate.keys]
        wrong = tuple(sorted(keys[(keys.index(key) + 1) % len(keys)] for key in plan.bans))
        return right(context, replace(plan, bans=wrong), *rest)

    for module in (leading, voting):
        stack.enter_context(swap(module, "decision_of", decision_of))
    return stack


def drops_below_f():
    """Whoever is away for long is dropped, however few are left."""

    def dropped(left, missed):
        return {e for e in left if missed[e] >= succession.ABSENT_ROUNDS}

    return swap(succession, "_dropped", dropped)


def window_ignored():
    """Strangers enter as fast as they work."""
    return swap(Door, "strangers_max", lambda self: 64)


FLOOD = stage(4, 8, job={"admission": {"mode": "work", "work_bits": 4}})

BANS = (
    Mutant("evidence_not_durable", "Evidence is kept in memory only.", ("durable",),
           evidence_not_durable, stage(7, attack="equivocate")),
    Mutant("evidence_unverified", "The signatures of evidence are not checked.",
           ("no_honest_ban",), evidence_unverified, stage(7, attack="frame")),
    Mutant("banned_stays", "A decision bans, and leaves the banned among the electors.",
           ("electorate",), banned_stays, stage(7, attack="equivocate")),
    Mutant("accuser_bans_another", "The ban hits another elector than the evidence.",
           ("no_honest_ban",), accuser_bans_another, stage(7, attack="equivocate")),
    Mutant("drops_below_f", "Absence costs the seat even where f falls with it.",
           ("electorate",), drops_below_f, stage(7, 12, attack="silent")),
    Mutant("window_ignored", "The window of admissions is not heeded.",
           ("admission_window",), window_ignored, FLOOD.model_copy(update={"followers": 4})),
)  # fmt: skip
