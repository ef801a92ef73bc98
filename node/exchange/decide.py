"""From a plan and its results to the one decision that they allow: pure, the same everywhere.

The leader builds it, every elector builds it again and compares. docs/protocol.md, "Decision".
"""

from collections import Counter
from collections.abc import Mapping, Set

from node.exchange.core import PlanState, RoundContext
from node.exchange.reduction import need
from node.ledger.frontier import Frontier, certified_frontier, entry_credits
from node.ledger.succession import next_electorate
from node.types import Digest
from node.wire.messages import Commitment, Decision

CREDIT_MICRO = 1_000_000
"""Minted for each contribution that enters the aggregate."""
ENTRY_MICRO = 1000
"""Minted for each entry of shared memory that became certain in the round ..."""
ENTRIES_CREDITED_MAX = 4096
"""... up to so many of one author."""


def decision_of(
    context: RoundContext,
    plan: PlanState,
    rule: str,
    roots: tuple[Digest, ...],
    state_root: Digest,
    commitments: Mapping[Digest, Commitment],
    beacon: bytes = b"",
    unrevealed: tuple[int, ...] = (),
) -> Decision:
    """The decision that a plan and its agreed results lead to.

    Args:
        context: facts of the round.
        plan: the verified plan.
        rule: the rule that combined the contributions.
        roots: agreed root of each part's result.
        state_root: root of the state after them.
        commitments: those of the contributors, by id.
        beacon: under which sketches backed the results, if they had to.
        unrevealed: who kept a nonce from it: no credit for the contribution.
    """
    ids = dict(plan.listed)
    contributors = plan.resolution.contributors
    vectors = [commitments[ids[elector]].memory for elector in contributors]
    memory = certified_frontier(vectors, context.electorate.f, context.memory)
    entered = tuple((e, ids[e]) for e in contributors)
    refused = _refused(plan)
    return Decision(
        job=context.job,
        round=context.round,
        prev=context.prev,
        skip=False,
        skip_reason="",
        rule=rule,
        replicas=need(context.electorate, context.rules.replicas, plan.wide),
        plan=entered,
        refused=refused,
        result_roots=roots,
        state_root=state_root,
        credits=_credits(context, set(contributors).difference(unrevealed), memory),
        bans=plan.bans,
        electors=next_electorate(
            context.electorate, entered, refused, plan.bans, plan.admitted
        ).keys,
        lease_until_round=context.lease_until_round,
        halted=False,
        memory=memory,
        beacon=beacon,
        unrevealed=unrevealed,
        probation=plan.probation,
        cleared=context.vetting.cleared_by(
            {context.electorate.keys[e][0]: commitments[ids[e]].cleared for e in contributors}
        ),
    )


def _refused(plan: PlanState) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((*plan.resolution.refused, *plan.absent)))


def _credits(
    context: RoundContext, paid: Set[int], memory: Frontier
) -> tuple[tuple[int, int], ...]:
    """What a round mints, by elector: for contributions, and for entries of electors."""
    minted = Counter(dict.fromkeys(paid, CREDIT_MICRO))
    indices = {peer: index for index, peer in enumerate(context.electorate.ids)}
    gained = entry_credits(context.memory, memory, ENTRIES_CREDITED_MAX)
    for author, entries in gained.items():
        if author in indices:
            minted[indices[author]] += entries * ENTRY_MICRO
    return tuple(sorted(minted.items()))


def skip_of(context: RoundContext, why: str, plan: PlanState | None = None) -> Decision:
    """The decision that keeps the state; one after a plan still bans whom its list convicts.

    Args:
        context: facts of the round.
        why: ``too_few`` contributions, or ``view``: more than f views failed.
        plan: the plan that left too few, if there was one.
    """
    refused = _refused(plan) if plan else ()
    bans = plan.bans if plan else ()
    return Decision(
        job=context.job,
        round=context.round,
        prev=context.prev,
        skip=True,
        skip_reason=why,
        rule="",
        replicas=context.rules.replicas,
        plan=(),
        refused=refused,
        result_roots=(),
        state_root=context.state_root,
        credits=(),
        bans=bans,
        electors=next_electorate(context.electorate, (), refused, bans).keys,
        lease_until_round=context.lease_until_round,
        halted=False,
        memory=context.memory,
    )
