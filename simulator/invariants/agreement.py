"""Votes: one decision a round, one value a slot, and the lock.

Signatures and quorums are checked here by a few lines of their own.
"""

from google.protobuf.message import DecodeError

from node.errors import PeerError
from node.ledger.votes import decision_id
from node.types import Digest
from node.wire import exchange_pb2 as pb
from node.wire.convert_ledger import prepared_from
from node.wire.messages import Certificate, PrepareCertificate, Signed, VoteSignature
from simulator.invariants.base import Check, Facts, Heard, Moved

Slot = tuple[object, ...]


def holds(
    facts: Facts,
    heard: Heard,
    kind: str,
    view: int,
    id_: Digest,
    votes: tuple[VoteSignature, ...],
) -> bool:
    """Whether a quorum of distinct electors of the round signed this vote."""
    body = view.to_bytes(4, "big") + id_
    verify, roll = facts.verify, facts.roll(heard.round)
    good = {
        v.elector
        for v in votes
        if v.elector < roll.n
        and verify(roll.keys[v.elector], kind, heard.job, heard.round, body, v.signature)
    }
    return len(good) == len(votes) and len(good) >= roll.quorum


class OneDecision(Check):
    """All honest nodes certify the same decision for a round, and a real quorum voted for it."""

    name = "one_decision"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._certified: dict[int, Digest] = {}
        """Round -> decision of a certificate that was seen and holds."""
        self._votes: dict[tuple[int, int, Digest], set[int]] = {}
        """(round, view, decision) -> electors whose COMMITVOTE was sent."""

    def heard(self, message: Heard) -> None:
        """Count votes; check certificates."""
        if message.signed is not None and message.signed.kind == "vote":
            self._vote(message, message.signed)
        elif message.certificate is not None:
            self._certificate(message, message.certificate)

    def _vote(self, heard: Heard, signed: Signed) -> None:
        elector = self.facts.roll(heard.round).elector_of.get(heard.sender)
        view, id_ = int.from_bytes(signed.body[:4], "big"), Digest(signed.body[4:])
        if elector is not None and self.facts.verify(
            signed.signer, "vote", signed.job, signed.round, signed.body, signed.signature
        ):
            self._votes.setdefault((signed.round, view, id_), set()).add(elector)

    def _certificate(self, heard: Heard, certificate: Certificate) -> None:
        id_ = decision_id(certificate.decision)
        if not holds(self.facts, heard, "vote", certificate.view, id_, certificate.votes):
            if self.facts.is_honest(heard.sender):
                text = f"node-{heard.sender} sends a certificate of round {heard.round} without "
                self.fail(heard.at_s, f"{text}a quorum: {len(certificate.votes)} votes", "quorum")
            return
        other = self._certified.setdefault(heard.round, id_)
        if other != id_:
            self.fail(
                heard.at_s,
                f"round {heard.round} has certificates of {other.hex()[:12]} and {id_.hex()[:12]}",
            )

    def moved(self, moved: Moved) -> None:
        """Compare heads."""
        head = moved.head
        other = self.facts.chain.setdefault(head.round, head.id)
        if other != head.id:
            text = f"node-{moved.node} certified {head.id.hex()[:12]} for round {head.round}, "
            self.fail(moved.at_s, f"{text}others {other.hex()[:12]}")
        if self._certified.get(head.round) != head.id and head.round > moved.before:
            self._check_votes(moved)

    def _check_votes(self, moved: Moved) -> None:
        """The leader's own vote and its colluders' may have come another way than by the wire."""
        head, facts = moved.head, self.facts
        roll = facts.roll(head.round)
        best = max(
            (
                len([e for e in electors if facts.is_honest(roll.electors[e].index)])
                for (round_, _, id_), electors in self._votes.items()
                if (round_, id_) == (head.round, head.id)
            ),
            default=0,
        )
        if best + 1 + facts.liars(head.round) < roll.quorum:
            text = f"node-{moved.node} takes round {head.round} as certified after {best} honest "
            self.fail(moved.at_s, f"{text}votes on the wire; {roll.quorum} needed", "quorum")

    def forget(self, before_round: int) -> None:
        """Old votes."""
        self._votes = {k: v for k, v in self._votes.items() if k[0] >= before_round}


class NoEquivocation(Check):
    """An honest node never signs two values for one slot, over all its lives."""

    name = "no_equivocation"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._signed: dict[int, dict[Slot, bytes]] = {}
        """Round -> (node, slot) -> body."""

    def heard(self, message: Heard) -> None:
        """Compare with what its slot held."""
        signed = message.signed
        if signed is None or not self.facts.is_honest(message.sender):
            return
        slot = (message.sender, *slot_of(signed))
        held = self._signed.setdefault(signed.round, {}).setdefault(slot, signed.body)
        if held != signed.body:
            where = "/".join(str(x.hex()[:8] if isinstance(x, bytes) else x) for x in slot[1:])
            text = f"node-{message.sender} signed two values for {where} of round {signed.round}"
            self.fail(message.at_s, text)

    def forget(self, before_round: int) -> None:
        """Old rounds; slots are dropped two rounds after theirs."""
        for round_ in [r for r in self._signed if r < before_round]:
            del self._signed[round_]


def slot_of(signed: Signed) -> Slot:
    """What an honest node may sign once (docs/protocol.md, "Durable slots")."""
    kind, body = signed.kind, signed.body
    if kind in ("prepare", "vote"):
        return kind, int.from_bytes(body[:4], "big")
    if kind == "have":
        return kind, pb.Have.FromString(body).view
    if kind == "list":
        value = pb.List.FromString(body)
        return kind, value.view, value.wide
    if kind == "propose":
        return kind, pb.Proposal.FromString(body).view
    if kind == "screen":
        return kind, pb.Screens.FromString(body).list_id
    if kind == "plan":
        return kind, pb.Plan.FromString(body).list_id
    if kind == "result":
        return kind, pb.Results.FromString(body).plan_id
    if kind == "seal":
        return kind, pb.Seal.FromString(body).plan_id
    if kind == "reveal":
        return kind, pb.Reveal.FromString(body).view
    if kind == "beacon":
        return kind, pb.Beacon.FromString(body).seal_id
    if kind == "sketch":
        return kind, pb.Sketches.FromString(body).beacon_id
    return (kind,)


class LockRule(Check):
    """Who voted to commit D never prepares another D' later without a lock of a higher view."""

    name = "lock_rule"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._voted: dict[tuple[int, int], dict[int, Digest]] = {}
        """(round, node) -> view -> decision of its COMMITVOTE."""
        self._locks: dict[tuple[int, Digest], list[PrepareCertificate]] = {}

    def heard(self, message: Heard) -> None:
        """Remember votes and locks; check PREPAREs."""
        if message.lock is not None:
            self._learn(message.round, message.lock)
        signed = message.signed
        if signed is None:
            return
        if signed.kind in ("have", "propose"):
            self._learn_from(signed)
        elif signed.kind in ("prepare", "vote") and self.facts.is_honest(message.sender):
            view, id_ = int.from_bytes(signed.body[:4], "big"), Digest(signed.body[4:])
            voted = self._voted.setdefault((signed.round, message.sender), {})
            if signed.kind == "vote":
                voted[view] = id_
            else:
                self._check(message, view, id_, voted)

    def _learn_from(self, signed: Signed) -> None:
        try:
            m: pb.Have | pb.Proposal = (
                pb.Have.FromString(signed.body)
                if signed.kind == "have"
                else pb.Proposal.FromString(signed.body)
            )
            if m.HasField("prepared"):
                self._learn(signed.round, prepared_from(m.prepared))
        except (DecodeError, PeerError):
            return  # a liar's

    def _learn(self, round_: int, lock: PrepareCertificate) -> None:
        known = self._locks.setdefault((round_, lock.decision_id), [])
        if all(k.view != lock.view for k in known) or len(known) < 2 * self.facts.founders.n:
            known.append(lock)

    def _check(self, heard: Heard, view: int, id_: Digest, voted: dict[int, Digest]) -> None:
        before = [v for v, other in voted.items() if v < view and other != id_]
        if not before:
            return
        for lock in self._locks.get((heard.round, id_), ()):
            if lock.view > max(before) and holds(
                self.facts, heard, "prepare", lock.view, id_, lock.votes
            ):
                return
        text = f"node-{heard.sender} voted for another decision in view {max(before)} of round "
        self.fail(heard.at_s, f"{text}{heard.round} and prepares {id_.hex()[:12]} in view {view}")

    def forget(self, before_round: int) -> None:
        """Old rounds."""
        self._voted = {k: v for k, v in self._voted.items() if k[0] >= before_round}
        self._locks = {k: v for k, v in self._locks.items() if k[0] >= before_round}
