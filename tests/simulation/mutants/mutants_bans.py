"""Bugs in evidence and bans."""

from dataclasses import replace

from mutant_kit import Mutant, swap
from mutant_stage import stage

from node.exchange import convictions, decide, leading, voting
from node.jobs.proofs import Proofs
from node.ledger.evidence import accused, accused_peer


def evidence_not_durable():
    async def add(self, evidence):
        self._hold(accused_peer(evidence), evidence)

    return swap(Proofs, "add", add)


def evidence_unverified():
    return swap(convictions, "offender", lambda evidence, verify: accused(evidence))


def banned_stays():
    return swap(decide, "_next_electors", lambda context, bans: context.electorate.keys)


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


BANS = (
    Mutant("evidence_not_durable", "Evidence is kept in memory only.", ("durable",),
           evidence_not_durable, stage(7, attack="equivocate")),
    Mutant("evidence_unverified", "The signatures of evidence are not checked.",
           ("no_honest_ban",), evidence_unverified, stage(7, attack="frame")),
    Mutant("banned_stays", "A decision bans, and leaves the banned among the electors.",
           ("electorate",), banned_stays, stage(7, attack="equivocate")),
    Mutant("accuser_bans_another", "The ban hits another elector than the evidence.",
           ("no_honest_ban",), accuser_bans_another, stage(7, attack="equivocate")),
)  # fmt: skip
