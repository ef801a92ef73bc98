"""From a plan and its results to the one decision that they allow: pure, the same everywhere.

The leader builds it, every elector builds it again and compares. docs/protocol.md, "Decision".
"""

from node.exchange.core import PlanState, RoundContext
from node.types import Digest
from node.wire.messages import Decision

CREDIT_MICRO = 1_000_000
"""Minted for each contribution that enters the aggregate."""


def decision_of(
    context: RoundContext,
    plan: PlanState,
    rule: str,
    roots: tuple[Digest, ...],
    state_root: Digest,
) -> Decision:
    """The decision that a plan and its agreed results lead to.

    Args:
        context: facts of the round.
        plan: the verified plan.
        rule: the rule that combined the contributions.
        roots: agreed root of each part's result.
        state_root: root of the state after them.
    """
    ids = dict(plan.listed)
    contributors = plan.resolution.contributors
    return Decision(
        job=context.job,
        round=context.round,
        prev=context.prev,
        skip=False,
        skip_reason="",
        rule=rule,
        replicas=context.rules.replicas,
        plan=tuple((e, ids[e]) for e in contributors),
        refused=tuple(sorted((*plan.resolution.refused, *plan.absent))),
        result_roots=roots,
        state_root=state_root,
        credits=tuple((e, CREDIT_MICRO) for e in contributors),
        bans=(),
        electors=context.electorate.keys,
        lease_until_round=context.lease_until_round,
        halted=False,
    )


def skip_of(context: RoundContext, why: str, plan: PlanState | None = None) -> Decision:
    """The decision that changes nothing.

    Args:
        context: facts of the round.
        why: ``too_few`` contributions, or ``view``: more than f views failed.
        plan: the plan that left too few, if there was one.
    """
    refused = tuple(sorted((*plan.resolution.refused, *plan.absent))) if plan else ()
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
        bans=(),
        electors=context.electorate.keys,
        lease_until_round=context.lease_until_round,
        halted=False,
    )
