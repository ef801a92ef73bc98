"""What a certified decision may say: parent, electors, credits, refusals, whom it leaves out.

Source: docs/protocol.md, "Decision", "Chain", "Reduction".
"""

from collections import Counter
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from node.errors import PeerError
from node.ledger.votes import decision_id
from node.types import Digest
from node.wire import exchange_pb2 as pb
from node.wire.convert import decode_have, decode_list
from node.wire.messages import Decision, ListMessage, Signed
from simulator.invariants.base import Check, Facts, Heard, Moved

CREDIT_MICRO = 1_000_000
"""For each contribution in the plan."""
ENTRY_MICRO = 1000
"""For each entry of shared memory, up to ..."""
ENTRIES_CREDITED_MAX = 4096
"""... so many of one author in a round."""


class SoundChain(Check):
    """Rounds grow; decisions follow one another; electors stay or are banned; nobody honest is."""

    name = "sound_chain"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._entered: dict[int, int] = {}
        """Round -> strangers that its decision seats."""

    def _check_entries(self, at_s: float, decision: Decision) -> None:
        """Strangers enter a few at a time."""
        roll, round_ = self.facts.roll(decision.round), decision.round
        founders = {*self.facts.founders.keys}
        new = {key for key, _ in decision.electors} - {*roll.keys} - founders
        self._entered[round_] = len(new)
        of_late = sum(n for r, n in self._entered.items() if round_ - 10 < r <= round_)
        if new and of_late > max(1, roll.n // 8):
            text = f"{of_late} strangers entered in the 10 rounds up to {round_}"
            self.fail(at_s, text, "admission_window")

    def moved(self, moved: Moved) -> None:
        """Check the new head."""
        head, decision, facts = moved.head, moved.decision, self.facts
        who, at_s = f"node-{moved.node}", moved.at_s
        # A jump that only brings the state of the head keeps the head.
        if head.round < moved.before or (head.round == moved.before and not moved.caught_up):
            self.fail(at_s, f"{who} went from round {moved.before} to {head.round}")
        if tuple(key for key, _ in head.electorate.keys) != facts.roll(head.round + 1).keys:
            text = f"{who} has other electors after round {head.round} than those not banned"
            self.fail(at_s, text, "electorate")
        if decision is None:
            if facts.founders.n > 1 and head.round:
                text = f"{who} certified {head.id.hex()[:12]} for round {head.round}"
                self.fail(at_s, f"{text}, which nobody proposed")
            return
        before = facts.chain.get(head.round - 1)
        if before is not None and decision.prev != before:
            self.fail(at_s, f"round {head.round} does not follow round {head.round - 1}")
        earlier = facts.decisions.get(before) if before is not None else None
        if earlier is not None and earlier.halted:
            self.fail(at_s, f"{who} certified round {head.round} of a halted job", "halted")
        self._check_entries(at_s, decision)
        for key in decision.bans:
            banned = next((n for n in facts.world.nodes if n.signer.public_key == key), None)
            if banned is None:
                self.fail(at_s, f"round {head.round} bans a key of nobody", "electorate")
            elif facts.is_honest(banned.index):
                self.fail(at_s, f"{banned.name} is honest and banned", "no_honest_ban")


class Credits(Check):
    """Credits come from certificates only: for contributions, and for entries of memory."""

    name = "credits"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._sums: dict[int, Mapping[bytes, int]] = {0: {}}
        """Round -> credits by key after it, as far as all decisions are known."""
        self._commits: set[tuple[int, int, Digest]] = set()
        """(round, elector, id) of commitments that their authors sent."""
        self._checked: set[int] = set()

    def heard(self, message: Heard) -> None:
        """Remember commitments."""
        signed = message.signed
        elector = self.facts.roll(message.round).elector_of.get(message.sender)
        if signed is not None and signed.kind == "commit" and elector is not None:
            self._commits.add((signed.round, elector, signed.id))

    def moved(self, moved: Moved) -> None:
        """Compare what a head says with the sum over the chain."""
        head, decision = moved.head, moved.decision
        if decision is not None and head.round not in self._checked:
            self._checked.add(head.round)
            self._check_decision(moved.at_s, decision)
        expected = self._sum(head.round)
        if expected is not None and dict(head.credits) != expected:
            total, due = sum(head.credits.values()), sum(expected.values())
            text = f"node-{moved.node} counts {total} micro-credits after round {head.round}, "
            self.fail(moved.at_s, f"{text}the chain minted {due}")

    def _check_decision(self, at_s: float, decision: Decision) -> None:
        round_ = decision.round
        paid = {elector for elector, _ in decision.plan}.difference(decision.unrevealed)
        due = dict.fromkeys(paid, CREDIT_MICRO)
        before = self.facts.decisions.get(decision.prev)
        if before is None and decision.memory and round_ > 1:
            return  # what the memory grew from is not known
        electors = {node.peer: e for e, node in enumerate(self.facts.roll(round_).electors)}
        had = {reach.author: reach.entries for reach in (before.memory if before else ())}
        for reach in decision.memory:
            grown = min(reach.entries - had.get(reach.author, 0), ENTRIES_CREDITED_MAX)
            elector = electors.get(reach.author)
            if grown > 0 and elector is not None:
                due[elector] = due.get(elector, 0) + grown * ENTRY_MICRO
        if decision.credits != tuple(sorted(due.items())):
            self.fail(at_s, f"round {round_} mints {decision.credits} for the plan's {due}")
        for elector, id_ in decision.plan:
            if self.facts.founders.n > 1 and (round_, elector, id_) not in self._commits:
                text = f"round {round_} uses a contribution that elector {elector} never sent"
                self.fail(at_s, text)

    def _sum(self, round_: int) -> Mapping[bytes, int] | None:
        last = max(r for r in self._sums if r <= round_)
        for r in range(last + 1, round_ + 1):
            id_ = self.facts.chain.get(r)
            decision = self.facts.decisions.get(id_) if id_ is not None else None
            if decision is None:
                return None
            counted = Counter(self._sums[r - 1])
            for elector in {e for e, _ in decision.plan}.difference(decision.unrevealed):
                counted[self.facts.roll(r).keys[elector]] += CREDIT_MICRO
            self._sums[r] = dict(counted)
        return self._sums[round_]

    def forget(self, before_round: int) -> None:
        """Old commitments."""
        self._commits = {c for c in self._commits if c[0] >= before_round}


class Refusals(Check):
    """A reason that accuses its author falls on honest ones at most once for each liar."""

    name = "no_false_refusal"
    _ACCUSING = ("equivocation", "false_work", "bad_leaf", "malformed", "bad_norm")

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._checked: set[int] = set()

    def moved(self, moved: Moved) -> None:
        """Count honest electors that were refused with an accusation."""
        decision, facts = moved.decision, self.facts
        if decision is None or decision.round in self._checked:
            return
        self._checked.add(decision.round)
        electors, liars = facts.roll(decision.round).electors, facts.liars(decision.round)
        accused = [
            (electors[e].name, why)
            for e, why in decision.refused
            if why in self._ACCUSING and facts.is_honest(electors[e].index)
        ]
        proofs = [name for name, why in accused if why in ("equivocation", "false_work")]
        if proofs or len(accused) > liars:
            text = f"round {decision.round} refuses honest nodes: {accused}"
            self.fail(moved.at_s, f"{text}; {liars} lie")


class Censorship(Check):
    """A commitment that more than f HAVEs of the leader's quorum name is in the certified list."""

    name = "no_censorship"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._lists: dict[Digest, Signed] = {}
        self._plans: dict[Digest, Signed] = {}
        self._plan_of: dict[Digest, Digest] = {}
        """Decision -> plan that its proposal named."""
        self._checked: set[int] = set()

    def heard(self, message: Heard) -> None:
        """Remember what leaders say."""
        signed = message.signed
        if signed is None:
            return
        if signed.kind == "list":
            self._lists[signed.id] = signed
        elif signed.kind == "plan":
            self._plans[signed.id] = signed
        elif signed.kind == "propose":
            try:
                m = pb.Proposal.FromString(signed.body)
            except DecodeError:
                return  # a liar's
            if m.plan_id:
                self._plan_of.setdefault(decision_id(m.decision), Digest(m.plan_id))

    def moved(self, moved: Moved) -> None:
        """Look for the list behind a decision in which somebody is absent."""
        decision = moved.decision
        if decision is None or decision.round in self._checked:
            return
        self._checked.add(decision.round)
        absent = {e for e, why in decision.refused if why == "absent"}
        plan = self._plans.get(self._plan_of.get(moved.head.id, Digest(b"")))
        listed = self._lists.get(Digest(pb.Plan.FromString(plan.body).list_id)) if plan else None
        if not absent or listed is None:
            return
        try:
            value = decode_list(listed.body, listed.job, listed.round)
            named = _named(value)
        except PeerError:
            return
        for elector in sorted(absent):
            if named[elector] > self.facts.roll(decision.round).f:
                text = f"round {decision.round} leaves out elector {elector}, whom "
                self.fail(moved.at_s, f"{text}{named[elector]} HAVEs of its list name")

    def forget(self, before_round: int) -> None:
        """Old rounds."""
        self._lists = {k: s for k, s in self._lists.items() if s.round >= before_round}
        self._plans = {k: s for k, s in self._plans.items() if s.round >= before_round}
        if len(self._plan_of) > 10_000:
            self._plan_of.clear()


def _named(value: ListMessage) -> Counter[int]:
    """Elector -> how many HAVEs name the same commitment of it, at most."""
    count = Counter(item for have in value.haves for item in decode_have(have.body).held)
    best: Counter[int] = Counter()
    for (elector, _), times in count.items():
        best[elector] = max(best[elector], times)
    return best
