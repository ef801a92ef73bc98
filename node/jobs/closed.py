"""A round as it was certified here, with what its audits will need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from node.exchange.core import RoundContext, RoundCore
from node.jobs.encoding import Local
from node.jobs.replica import Replica
from node.jobs.round_flow import RoundOutcome
from node.ledger.votes import decision_id
from node.ports import FloatVector
from node.types import Digest
from node.wire.messages import Commitment, Decision, Signed


@dataclass(frozen=True)
class Closed:
    """A round that was certified here, and what an audit of it needs."""

    context: RoundContext
    decision: Decision
    decision_id: Digest
    params: FloatVector
    """Of the state before the round. Shape [d]."""
    opened: Mapping[Digest, Commitment]
    """Commitment id -> commitment, of those that were seen."""
    signed: Mapping[Digest, Signed]
    """Commitment id -> the message, among others."""
    local: Local
    """Ours before the round."""
    after_skip: bool
    """The round before it was a SKIP."""

    @classmethod
    def of(
        cls,
        outcome: RoundOutcome,
        core: RoundCore,
        before: Replica,
    ) -> Self:
        """A round as it ended; ``before``: the replica, which does not know yet."""
        id_ = decision_id(outcome.certificate.decision)
        seen, state = (core.opened, core.signed), before.state
        return cls(
            core.context, outcome.decision, id_, state.params, *seen, before.local,
            before.after_skip,
        )  # fmt: skip
