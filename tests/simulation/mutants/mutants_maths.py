"""Bugs in reduction, state, credits and waits."""

from contextlib import ExitStack

import numpy as np
from mutant_kit import Mutant, swap, swap_function
from mutant_stage import (
    ExpectSection,
    FaultSection,
    HeavyFlip,
    LinkSection,
    stage,
)

from node.errors import Malformed
from node.exchange import deadlines
from node.exchange.deadlines import DeadlineEstimator
from node.exchange.haves import named_by
from node.exchange.reducing import Reducing
from node.exchange.rules import combine_weighted
from node.jobs import work
from node.jobs.work import apply_results, screen_parts, weights_of
from node.ledger.chain import extend
from node.merkle import leaf
from node.state.outer import OuterState
from node.state.snapshot import state_root


def censor_accepted():
    return swap(Reducing, "check_list", _check_list_without_names(Reducing.check_list))


def _check_list_without_names(right):
    def check_list(self, signed):
        with swap_function(named_by, lambda haves: {}):
            return right(self, signed)

    return check_list


def forgets_retransmitted():
    right = Reducing.on_scatter

    def on_scatter(self, sender, message):
        core, id_ = self._core, message.commitment.id
        again = [p for p, _ in message.parts if (id_, p) in core.parts]
        right(self, sender, message)
        for part in again:
            del core.parts[id_, part]

    return swap(Reducing, "on_scatter", on_scatter)


def row_unchecked():
    """Neither the leaf nor the norm of a received part is compared with its commitment."""
    from dataclasses import replace

    from node.exchange.gram import quantise_row

    def wrong(g, round_, rows, parts):
        trusting = []
        for row in rows:
            bound = list(row.commitment.parts)
            for part, data in row.parts.items():
                try:
                    integer = quantise_row(g.codec.decode(data, g.part_sizes[part]))
                except Malformed:
                    continue  # still refused
                place = leaf("update", g.job, round_, row.peer, part, data)
                bound[part] = type(bound[part])(place, integer.sq_norm, integer.exponent)
            commitment = replace(row.commitment, parts=tuple(bound))
            trusting.append(replace(row, commitment=commitment))
        return screen_parts(g, round_, trusting, parts)

    return swap_function(screen_parts, wrong)


def unchecked_weight():
    def wrong(g, resolution, rule_name, commitments):
        steps = [commitments[e].steps for e in resolution.contributors]
        return tuple(s / sum(steps) for s in steps)

    return swap_function(weights_of, wrong)


def rule_without_defence():
    def wrong(g, resolution, rule_name, commitments):
        return (1.0 / len(resolution.contributors),) * len(resolution.contributors)

    return swap_function(weights_of, wrong)


def arrival_order_sum():
    turn = [0]

    def wrong(rows, weights):
        turn[0] += 1
        at = turn[0] % len(rows)
        rows = [*rows[at:], *rows[:at]]
        return combine_weighted(rows, np.roll(weights, -at))

    return swap(work, "combine_weighted", wrong)  # not where the golden check looks


def applied_twice():
    def wrong(g, state, results):
        once, _ = apply_results(g, state, results)
        return apply_results(g, once, results)

    return swap_function(apply_results, wrong)


def root_omits_optimizer():
    def wrong(state, shapes):
        return state_root(OuterState(state.params, None), shapes)

    return swap_function(state_root, wrong)


def credits_twice():
    def wrong(head, decision, id_):
        after = extend(head, decision, id_)
        return extend(after, decision, id_) if decision.credits else after

    return swap_function(extend, wrong)


def deadline_never_adapts():
    return swap(DeadlineEstimator, "add", lambda self, closed: None)


def patience_never_shrinks():
    stack = ExitStack()
    stack.enter_context(swap(deadlines, "PATIENCE_DOWN", 1.0))
    return stack


FP32 = {"exchange": {"codec": "fp32", "rule": "mean"}}
MOMENTUM = {"outer": {"lr": 0.7, "momentum": 0.9}}

MATHS = (
    Mutant("censor_accepted", "A list that leaves out a named contribution is accepted.",
           ("no_censorship",), censor_accepted, stage(rounds=10, attack="censor")),
    Mutant("forgets_retransmitted", "A reducer forgets a part that arrives twice.",
           ("rows_reach", "no_false_refusal"), forgets_retransmitted,
           stage(link=LinkSection(latency_s=0.02, duplicate_rate=0.3))),
    Mutant("row_unchecked", "A part is used although it is not the one committed to.",
           ("committed_rows", "no_false_blame"), row_unchecked, stage(attack="old_parts")),
    Mutant("unchecked_weight", "A contribution weighs as many steps as it claims.",
           ("aggregate",), unchecked_weight, stage(), (HeavyFlip,)),
    Mutant("rule_without_defence", "The weights of the rule are not used.", ("aggregate",),
           rule_without_defence, stage(attack="sign_flip", scale=10.0)),
    Mutant("arrival_order_sum", "Rows are summed in another order by every reducer.",
           ("same_results", "rounds_min", "progress"), arrival_order_sum,
           stage(expect=ExpectSection(rounds_min=6, recovery_s_max=100.0), job=FP32)),
    Mutant("applied_twice", "A round's results are applied twice.", ("one_step",),
           applied_twice, stage()),
    Mutant("root_omits_optimizer", "The state root leaves out the outer momentum.",
           ("state_root",), root_omits_optimizer, stage(job=MOMENTUM)),
    Mutant("credits_twice", "Credits are minted twice.", ("credits",), credits_twice, stage()),
    Mutant("deadline_never_adapts", "Waits stay at their first guess.", ("deadlines_adapt",),
           deadline_never_adapts, stage(rounds=16)),
    Mutant("patience_never_shrinks", "After a failed round the waits stay long.",
           ("deadlines_adapt",), patience_never_shrinks,
           stage(5, 60, faults=[FaultSection(kind="crash", nodes="leader", round=r, phase="have",
                                             for_s=2.0) for r in (2, 4, 6, 8)]),
           only_own="its invariant compares with the longest of 32 rounds: a calm of that many "
           "more is longer than drawn jobs are"),
)  # fmt: skip
