"""What the duties of a round share: its facts, what was heard, what was signed, what comes out.

Pure. ``RoundMachine`` owns one ``RoundCore``; the duties (reducing, leading, voting) read and
extend it. Only ``sign`` creates signatures, and it never signs twice for one slot.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from node.errors import BadSignature, Malformed, PeerError
from node.exchange.agreement import Agreement
from node.exchange.convictions import Convictions
from node.exchange.deadlines import Deadlines
from node.exchange.effects import Effect, Fetch, Persist, Phase, Send
from node.exchange.reduction import Resolution, need, reducer_orders, width
from node.identity import Signer, Verifier
from node.ledger.admission import NOBODY, Door, Entrants
from node.ledger.electorate import Electorate
from node.ledger.frontier import Frontier
from node.ledger.succession import Terms
from node.ledger.vetting import Vetting
from node.ledger.votes import PREPARE, check_prepared
from node.types import Digest, JobId
from node.wire.convert import decode_commitment
from node.wire.messages import Commitment, ListMessage, PrepareCertificate, RoundBody, Signed
from node.wire.probation_messages import ProbationStep


@dataclass(frozen=True)
class RoundRules:
    """What the manifest fixes for every round of the job."""

    part_bytes: tuple[int, ...]
    """Exact encoded size of each part of an update."""
    result_bytes: tuple[int, ...]
    """Exact encoded size of each part of a result."""
    replicas: int
    """Equal answers that each part needs (r)."""
    group_min: int
    """Least number of contributions; fewer is a SKIP."""
    rule: str
    rule_min: int
    """Least rows that ``rule`` is defined for, m_min(f)."""
    rule_small: str
    """Used below ``rule_min``."""
    buckets: tuple[int, ...] = ()
    """Of the sketch of each part, where there are sketches."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.part_bytes)


@dataclass(frozen=True)
class RoundContext:
    """The facts that a round starts from, the same on every honest node but for its waits."""

    job: JobId
    round: int
    prev: Digest
    """Id of the last decision."""
    state_root: Digest
    """Root of the state that this round starts from."""
    electorate: Electorate
    me: int | None
    """Our index, or None for a node outside the electorate."""
    rules: RoundRules
    deadlines: Deadlines
    lease_until_round: int
    memory: Frontier = ()
    """How far the authors of shared memory were certified to be."""
    wide_first: bool = False
    """Ask more reducers at once: the last round had to."""
    quiet: frozenset[int] = frozenset()
    """Electors that are away and not heard of: no deadline waits for their commitment."""
    terms: Terms = ()
    """The electorates so far: who could judge work of an earlier round."""
    door: Door | None = None
    """What decides who may enter; None: nobody may."""
    entrants: Entrants = NOBODY
    """Who is to enter, and be on probation, as this node, leading, would list it."""
    vetting: Vetting = field(default_factory=Vetting)


@dataclass
class PlanState:
    """A verified plan and what follows from it."""

    view: int
    wide: bool
    listed: tuple[tuple[int, Digest], ...]
    absent: tuple[tuple[int, str], ...]
    """Electors outside the list: ``absent``, ``equivocation`` or ``false_work``."""
    bans: tuple[bytes, ...]
    """Public keys that the list's evidence convicts, rising."""
    admitted: tuple[bytes, ...]  # public keys that its applications seat
    probation: ProbationStep
    resolution: Resolution
    lock: PrepareCertificate | None
    """The highest that the HAVEs of its list carry."""
    nonces: Mapping[int, bytes]
    """Elector -> the nonce's hash in its HAVE of the list, where there is one."""


@dataclass
class RoundCore:
    """State shared by the duties of one round."""

    context: RoundContext
    agreement: Agreement
    signer: Signer | None
    verify: Verifier
    slots: dict[str, Signed]
    """Slot -> what we signed there, this process or an earlier one."""
    signs: Callable[[int, str, bytes], bytes] | None = None
    """(round, kind, body) -> the body that an attack signs in its place."""
    effects: list[Effect] = field(default_factory=list)
    loopback: list[RoundBody] = field(default_factory=list)
    """What we told ourselves, handled after the current event."""
    commitments: dict[int, Signed] = field(default_factory=dict)
    """Elector -> the first commitment heard of it."""
    opened: dict[Digest, Commitment] = field(default_factory=dict)
    """Commitment id -> content; of a convicted elector those that a list names."""
    signed: dict[Digest, Signed] = field(default_factory=dict)
    """Messages that others may fetch by id: commitments, lists, plans, proposals by decision."""
    lists: dict[Digest, ListMessage] = field(default_factory=dict)
    """Verified lists."""
    locks: dict[Digest, PrepareCertificate | None] = field(default_factory=dict)
    """Verified list -> the highest lock that its HAVEs carry."""
    plans: dict[Digest, PlanState] = field(default_factory=dict)
    """Verified plans."""
    parts: dict[tuple[Digest, int], bytes] = field(default_factory=dict)
    """(commitment id, part) -> bytes as received; checked against the leaf when screened."""
    results: dict[Digest, tuple[int, bytes]] = field(default_factory=dict)
    """Root -> (part, bytes); the root was computed from the bytes."""
    shadows: dict[tuple[Digest, ...], Digest] = field(default_factory=dict)
    """Result roots -> root of the state that follows."""
    answers: dict[tuple[int, str, Digest], Signed] = field(default_factory=dict)
    """(Elector, kind, list, plan or beacon) -> its first answer there, true or not."""
    asked: set[object] = field(default_factory=set)
    """Local work that was already asked for."""

    def __post_init__(self) -> None:
        c = self.context
        self.orders = reducer_orders(c.prev, c.electorate, c.rules.parts)
        self.convictions = Convictions(
            c.job, c.round, c.electorate, c.me, self.verify, self._emit, c.terms
        )
        self._checked: set[tuple[Digest, bytes]] = set()
        self._checked_locks: set[PrepareCertificate] = set()

    @property
    def electorate(self) -> Electorate:
        """The electors of this round."""
        return self.context.electorate

    @property
    def leader(self) -> int:
        """Leader of the current view."""
        return self.electorate.leader(self.context.round, self.agreement.view)

    @property
    def leading(self) -> bool:
        """Whether we lead the current view."""
        return self.context.me == self.leader

    @property
    def settled(self) -> int:
        """Electors whose commitment is held, or that are convicted: nobody waits for theirs."""
        return len(self.commitments.keys() | self.convictions.held.keys())

    @property
    def awaited(self) -> int:
        """Electors whose commitment may still come soon."""
        done = self.commitments.keys() | self.convictions.held.keys() | self.context.quiet
        return self.electorate.n - len(done)

    def width(self, wide: bool) -> int:
        """Reducers asked for each part."""
        return width(self.electorate, self.context.rules.replicas, wide)

    def need(self, wide: bool) -> int:
        """Equal answers that each part needs."""
        return need(self.electorate, self.context.rules.replicas, wide)

    @property
    def checks(self) -> bool:
        """Whether all reducers of a part of a narrow list may be liars: r <= f."""
        return self.need(False) <= self.electorate.f

    # Outputs -----------------------------------------------------------------------------------

    def sign(self, slot: str, kind: str, body: bytes) -> Signed:
        """Sign ``body`` for ``slot``, or return what that slot already holds."""
        signed = self.slots.get(slot)
        if signed is None:
            assert self.signer is not None
            c = self.context
            if self.signs is not None:
                body = self.signs(c.round, kind, body)
            signature = self.signer.sign(kind, c.job, c.round, body)
            signed = Signed(kind, c.job, c.round, self.signer.public_key, body, signature)
            self.record_slot(slot, signed)
        return signed

    def record_slot(self, slot: str, signed: Signed) -> None:
        """Persist a signed value under its slot, once."""
        if slot not in self.slots:
            self.slots[slot] = signed
            self.effects.append(Persist(slot, signed))

    def _emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, to: int, body: RoundBody) -> None:
        """To one elector; to ourselves by loopback."""
        if to == self.context.me:
            self.loopback.append(body)
        else:
            self.effects.append(Send((to,), body))

    def broadcast(self, body: RoundBody) -> None:
        """To every elector, ourselves included."""
        self.effects.append(Send(self.others(), body))
        self.loopback.append(body)

    def others(self) -> tuple[int, ...]:
        """All electors but us."""
        return tuple(e for e in range(self.electorate.n) if e != self.context.me)

    def fetch(self, ids: Iterable[Digest], first: Sequence[int] = ()) -> None:
        """Ask for what we lack, ``first`` first. Asked once; retries are the caller's."""
        wanted = tuple(i for i in dict.fromkeys(ids) if ("fetch", i) not in self.asked)
        self.asked.update(("fetch", i) for i in wanted)
        ask = [e for e in first if e != self.context.me]
        ask += [e for e in self.others() if e not in ask]
        if wanted and ask:
            self.effects.append(Fetch(wanted, tuple(ask)))

    def once(self, *key: object) -> bool:
        """True the first time ``key`` is given."""
        new = key not in self.asked
        self.asked.add(key)
        return new

    def phase(self, name: str) -> None:
        """Report a step."""
        self.effects.append(Phase(name))

    # Inputs ------------------------------------------------------------------------------------

    def check_leads(self, signed: Signed, kind: str, view: int) -> None:
        """Whether a message whose signature holds is a leader's of this kind.

        Raises:
            BadSignature: it is of another kind, or its signer does not lead the view.
        """
        leader = self.electorate.leader(signed.round, view)
        if signed.kind != kind or self.electorate.index(signed.signer) != leader:
            raise BadSignature(f"a {kind} from someone who does not lead its view")

    def elector_of(self, signed: Signed) -> int:
        """Index of the signer of a message whose signature holds.

        Raises:
            BadSignature: a stranger's, or forged.
        """
        index = self.electorate.index(signed.signer)
        if index is None:
            raise BadSignature("the signer is not an elector of this round")
        key = (signed.id, signed.signature)
        if key not in self._checked:
            if not signed.holds(self.verify):
                raise BadSignature(f"bad signature on a {signed.kind}")
            self._checked.add(key)
            self.convictions.see(index, signed)
        return index

    def check_lock(self, certificate: PrepareCertificate) -> None:
        """Raise BadSignature unless a quorum signed it; checked once."""
        if certificate not in self._checked_locks:
            c = self.context
            check_prepared(certificate, c.job, c.round, c.electorate, self.verify)
            self._checked_locks.add(certificate)
            self.convictions.see_votes(
                PREPARE, certificate.view, certificate.decision_id, certificate.votes
            )

    def learn_commitment(self, signed: Signed) -> int:
        """Take a commitment: the first of an elector that is not convicted."""
        elector = self.elector_of(signed)
        if signed.kind != "commit":
            raise Malformed(f"a {signed.kind} in place of a commitment")
        convicted = elector in self.convictions.held
        wanted = ("fetch", signed.id) in self.asked  # a leader that does not know listed it
        if signed.id in self.opened or (convicted and not wanted):
            return elector
        commitment = decode_commitment(signed.body)
        self._check_commitment(commitment)
        if not convicted:
            self.commitments.setdefault(elector, signed)
        self.opened[signed.id] = commitment
        self.signed[signed.id] = signed
        return elector

    def _check_commitment(self, commitment: Commitment) -> None:
        c = self.context
        if commitment.prev != c.prev or commitment.state_root != c.state_root:
            raise PeerError("the commitment starts from another decision or state")
        if len(commitment.parts) != c.rules.parts:
            raise Malformed(f"{len(commitment.parts)} parts, {c.rules.parts} expected")

    def held(self) -> tuple[tuple[int, Digest], ...]:
        """(elector, id) of every commitment held, rising."""
        return tuple((e, self.commitments[e].id) for e in sorted(self.commitments))
