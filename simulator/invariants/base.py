"""What all checks share: the facts of the run, and how a violation is told."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from node.identity import Verifier
from node.identity import verify as verify_ed25519
from node.jobs.runner import JobRunner
from node.ledger.chain import Head
from node.types import Digest, JobId, PeerId
from node.wire.messages import Certificate, Decision, PrepareCertificate, Signed
from simulator.host.signer import verify
from simulator.hub import Watcher
from simulator.invariants.taps import Taps

if TYPE_CHECKING:
    from simulator.world import SimNode, World

KEPT_ROUNDS = 4
"""Rounds behind the newest whose messages are remembered."""


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold."""

    at_s: float
    invariant: str
    """Its name, for example ``one_decision``."""
    text: str


@dataclass(frozen=True)
class Roll:
    """The electors of one round, in the order of their peer ids: elector -> its node."""

    electors: "tuple[SimNode, ...]"
    missed: Mapping[PeerId, int] = field(default_factory=dict)
    """For how many rounds in a row a decision named each as absent."""

    @classmethod
    def of(cls, nodes: "Iterable[SimNode]", missed: Mapping[PeerId, int] | None = None) -> "Roll":
        """The roll of these nodes."""
        return cls(tuple(sorted(nodes, key=lambda node: node.peer)), missed or {})

    def after(self, decision: Decision, nodes: "Iterable[SimNode]" = ()) -> "Roll":
        """The next roll: without whom it bans, and without who is absent for too long.

        Args:
            decision: of the round.
            nodes: all there are: those whose keys are new in the decision enter.
        """
        names = [node.peer for node in self.electors]
        why = {names[e]: reason for e, reason in decision.refused}
        why |= {names[e]: "" for e, _ in decision.plan}
        missed = {
            name: (self.missed.get(name, 0) + (why.get(name) == "absent"))
            * (why.get(name, "absent") == "absent")
            for name in names
        }
        left = [n for n in self.electors if n.signer.public_key not in decision.bans]
        while len(left) > 4 and (len(left) - 2) // 3 == (len(left) - 1) // 3:
            longest = max(left, key=lambda n: missed[n.peer])  # the first of equals
            if missed[longest.peer] < 8:
                break
            left.remove(longest)
        new = {key for key, _ in decision.electors} - {*self.keys}
        entered = [node for node in nodes if node.signer.public_key in new]
        return Roll.of([*left, *entered], missed | {node.peer: 1 for node in entered})

    @property
    def n(self) -> int:
        """How many they are."""
        return len(self.electors)

    @property
    def f(self) -> int:
        """Liars that they bear."""
        return (self.n - 1) // 3

    @property
    def quorum(self) -> int:
        """Votes that decide."""
        return -(-2 * self.n // 3)

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """Elector -> public key."""
        return tuple(node.signer.public_key for node in self.electors)

    @cached_property
    def elector_of(self) -> Mapping[int, int]:
        """Node -> elector; followers and the banned have none."""
        return {node.index: e for e, node in enumerate(self.electors)}


@dataclass
class Facts:
    """What is known of the run, gathered once for all checks.

    Args:
        world: the world under test.
        report: takes a violation.
    """

    world: "World"
    report: Callable[[Violation], None]
    decisions: dict[Digest, Decision] = field(default_factory=dict)
    """Every decision that was proposed or certified on the wire, by id."""
    chain: dict[int, Digest] = field(default_factory=dict)
    """Round -> the decision that honest nodes certified first."""
    taps: Taps = field(default_factory=Taps)

    def __post_init__(self) -> None:
        world = self.world
        self.verify: Verifier = verify if world.scenario.signer == "keyed" else verify_ed25519
        self._liars = world.liars
        self.nodes_by_peer: dict[PeerId, SimNode] = {node.peer: node for node in world.nodes}
        self.founders = Roll.of(world.nodes[: world.scenario.nodes])
        self._rolls = {1: self.founders}

    def roll(self, round_: int) -> Roll:
        """The electors of a round: the founders without whom the decisions before it left out.

        While the decision before a round is not certified, those of the round before stand for it.
        """
        round_ = max(1, round_)  # a liar's message may name any
        known = min(round_, max(self._rolls))
        for r in range(known + 1, round_ + 1):
            id_ = self.chain.get(r - 1)
            decision = self.decisions.get(id_) if id_ is not None else None
            if decision is None:
                return self._rolls[r - 1]
            self._rolls[r] = self._rolls[r - 1].after(decision, self.world.nodes)
        return self._rolls[round_]

    def liars(self, round_: int) -> int:
        """How many electors of a round lie."""
        return sum(node.index in self._liars for node in self.roll(round_).electors)

    def refresh(self) -> None:
        """Look again who lies; a world may be told between its making and its start."""
        self._liars = self.world.liars

    def is_honest(self, node: int) -> bool:
        """Whether a node follows the protocol."""
        return node not in self._liars

    def runner(self, node: int) -> JobRunner | None:
        """The job as it runs on a node now."""
        daemon = self.world.nodes[node].daemon
        runners = daemon.runners if daemon else ()
        return runners[0] if runners else None


@dataclass(frozen=True)
class Heard:
    """One message as an honest or lying node sent it for the first time."""

    at_s: float
    sender: int
    """Node, not elector."""
    job: JobId
    round: int
    signed: Signed | None = None
    """What the sender signed itself."""
    lock: PrepareCertificate | None = None
    certificate: Certificate | None = None
    accused: PeerId | None = None
    """Whom the evidence in it speaks of."""


@dataclass(frozen=True)
class Moved:
    """The head of an honest node moved."""

    at_s: float
    node: int
    runner: JobRunner
    before: int
    """Round of its head before; 0 at the start."""
    head: Head
    decision: Decision | None
    """The decision of the head, where it was seen."""
    caught_up: bool
    """By the chain and the state of others, not in a round of its own."""


class Check(Watcher):
    """One invariant, or a few on the same facts."""

    name: ClassVar[str]
    """Shown in violations."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def heard(self, message: Heard) -> None:
        """A message left its sender for the first time."""

    def moved(self, moved: Moved) -> None:
        """An honest node certified or caught up."""

    def forget(self, before_round: int) -> None:
        """Rounds before this one are over: let go of them."""

    def finish(self, at_s: float) -> None:
        """The run is over."""

    def not_promised(self) -> Sequence[str]:
        """What was not checked, since nobody promises it, in sentences."""
        return ()

    def fail(self, at_s: float, text: str, name: str = "") -> None:
        """Report a violation."""
        self.facts.report(Violation(at_s, name or self.name, text))
