"""Runs all checks: opens messages once, finds out when heads move, collects violations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from node.errors import PeerError
from node.identity import peer_id_of
from node.jobs.courier import ROUND_METHOD
from node.ledger.votes import decision_id
from node.types import JobId, PeerId
from node.wire import exchange_pb2 as pb
from node.wire import memory_pb2
from node.wire.convert_ledger import certificate_from, decode_decision, prepared_from
from node.wire.messages import Signed
from simulator.hub import Watcher
from simulator.invariants.agreement import LockRule, NoEquivocation, OneDecision
from simulator.invariants.base import KEPT_ROUNDS, Check, Facts, Heard, Moved, Violation
from simulator.invariants.blame import NoFalseBlame, NoFalseConviction
from simulator.invariants.chain import Censorship, Credits, Refusals, SoundChain
from simulator.invariants.durability import Durable
from simulator.invariants.liveness import Adaptive, Progress
from simulator.invariants.memory import ErrorFeedback
from simulator.invariants.probation import SoundProbation
from simulator.invariants.robustness import Aggregate
from simulator.invariants.rows import CommittedRows, RowsReach, SameResults
from simulator.invariants.state import OneState

if TYPE_CHECKING:
    from simulator.world import World

VIOLATIONS_MAX = 50
"""Violations that are kept; one bug breaks many things."""

CHECKS: Sequence[Callable[[Facts], Check]] = (
    OneDecision, NoEquivocation, LockRule, SoundChain, SoundProbation, Credits, Refusals,
    Censorship, OneState, Aggregate, ErrorFeedback, RowsReach, CommittedRows, SameResults, Durable,
    NoFalseBlame, NoFalseConviction, Progress, Adaptive,
)  # fmt: skip


class Invariants(Watcher):
    """Checks safety at every event that may break it; ``finish`` checks what needs the end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self._facts = Facts(world, self._report)
        self._checks = [make(self._facts) for make in CHECKS]
        # Nearly every check ignores what arrives, which is most of what happens.
        self._on_arrival = [c for c in self._checks if type(c).arrived is not Check.arrived]
        self._progress = next(c for c in self._checks if isinstance(c, Progress))
        self._seen: dict[int, set[tuple[PeerId, int]]] = {}
        """Round -> hashes of the messages that were opened."""
        self._rounds: dict[int, int] = {}
        """Node -> round of its head."""
        self._newest = 0

    @property
    def recovery_virtual_s(self) -> float | None:
        """From the end of the last fault until every honest node had a new round."""
        return self._progress.recovery_s

    @property
    def bans(self) -> Mapping[str, str]:
        """Node -> since which decision it is banned."""
        facts = self._facts
        names = {node.signer.public_key: node.name for node in facts.world.nodes}
        certified = (facts.decisions[id_] for id_ in facts.chain.values() if id_ in facts.decisions)
        return {
            names.get(key, key.hex()): f"by the decision of round {decision.round}"
            for decision in sorted(certified, key=lambda d: -d.round)
            for key in decision.bans
        }

    @property
    def not_promised(self) -> Iterable[str]:
        """What the checks did not check, and why."""
        return [text for check in self._checks for text in check.not_promised()]

    def _report(self, violation: Violation) -> None:
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(violation)

    # Told by the hub ---------------------------------------------------------------------------

    def life(self, at_s: float, node: int, what: str) -> None:
        """Tell the checks."""
        self._facts.refresh()
        if what == "start" and self._world.nodes[node].store.slots_lost:
            self._rounds.pop(node, None)
        for check in self._checks:
            check.life(at_s, node, what)

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """Open a round message the first time that it leaves."""
        if method != ROUND_METHOD:
            return
        round_seen = self._seen.setdefault(self._newest, set())
        key = (source, hash(data))
        if key in round_seen or any(key in seen for seen in self._seen.values()):
            return
        round_seen.add(key)
        sender = self._facts.nodes_by_peer.get(source)
        heard = _open(at_s, sender.index, data) if sender is not None else None
        if heard is None or sender is None:
            return
        if heard.signed is not None and heard.signed.signer != sender.signer.public_key:
            return  # what others signed proves nothing about the sender
        self._learn(heard)
        for check in self._checks:
            check.heard(heard)

    def arrived(
        self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        """Tell the checks of round messages."""
        if method == ROUND_METHOD:
            for check in self._on_arrival:
                check.arrived(at_s, source, target, method, data)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Tell the checks; at the end of a round look at the head."""
        facts = self._facts
        if phase in ("scatter", "vote") and facts.is_honest(node):
            runner = facts.runner(node)
            if runner is not None:
                facts.taps.phase(runner, phase, round_, facts.decisions)
        for check in self._checks:
            check.phase(at_s, node, phase, round_)
        if phase == "certified":
            self._look(at_s, node, caught_up=False)

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Tell the checks; after catching up look at the head."""
        for check in self._checks:
            check.event(at_s, node, event, fields)
        if event == "caught_up":
            self._look(at_s, node, caught_up=True)

    def fault(self, at_s: float, what: str) -> None:
        """Tell the checks."""
        for check in self._checks:
            check.fault(at_s, what)

    def finish(self, at_s: float) -> None:
        """The run is over."""
        for check in self._checks:
            check.finish(at_s)

    # Inside ------------------------------------------------------------------------------------

    def _learn(self, heard: Heard) -> None:
        """Remember what a proposal or certificate decides, whoever sent it: ids are hashes."""
        data = b""
        if heard.certificate is not None:
            data = heard.certificate.decision
        elif heard.signed is not None and heard.signed.kind == "propose":
            try:
                data = pb.Proposal.FromString(heard.signed.body).decision
            except DecodeError:
                return
        if data and (id_ := decision_id(data)) not in self._facts.decisions:
            try:
                self._facts.decisions[id_] = decode_decision(data)
            except PeerError:
                return  # a liar's; nobody honest prepares it

    def _look(self, at_s: float, node: int, *, caught_up: bool) -> None:
        runner = self._facts.runner(node)
        if runner is None or runner.replica is None or not self._facts.is_honest(node):
            return
        head = runner.replica.head
        before = self._rounds.get(node, 0)
        self._rounds[node] = head.round
        decision = self._facts.decisions.get(head.id)
        moved = Moved(at_s, node, runner, before, head, decision, caught_up)
        for check in self._checks:
            check.moved(moved)
        if head.round > self._newest:
            self._newest = head.round
            oldest = head.round - KEPT_ROUNDS
            for round_ in [r for r in self._seen if r < oldest]:
                del self._seen[round_]
            self._facts.taps.forget(oldest)
            for check in self._checks:
                check.forget(oldest)


def _open(at_s: float, sender: int, data: bytes) -> Heard | None:
    """What a round message says; None if nothing that is checked, or malformed by a liar."""
    try:
        m = pb.RoundMessage.FromString(data)
        which, job, round_ = m.WhichOneof("body"), JobId(m.job), m.round
        if which == "prepared":
            return Heard(at_s, sender, job, round_, lock=prepared_from(m.prepared))
        if which == "certificate":
            return Heard(at_s, sender, job, round_, certificate=certificate_from(m.certificate))
        if which == "evidence":
            key = m.evidence.first.signer
            if m.evidence.HasField("fork"):
                key = memory_pb2.BatchHeader.FromString(m.evidence.fork.one.header).author
            return Heard(at_s, sender, job, round_, accused=peer_id_of(key))
        if which == "signed":
            s = m.signed
        elif which == "scatter":
            s = m.scatter.commitment
        elif which == "spread" and m.spread.HasField("result"):
            s = m.spread.result
        else:
            return None
    except (DecodeError, PeerError):
        return None
    signed = Signed(s.kind, job, round_, s.signer, s.body, s.signature)
    return Heard(at_s, sender, job, round_, signed=signed)
