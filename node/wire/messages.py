"""The messages of a round and of the ledger as plain values, checked in form by ``convert``.

Electors are named by their index in the round's electorate (sorted by peer id). Normative text:
docs/protocol.md. Form is checked when bytes are decoded; meaning is checked by exchange and ledger.
"""

from dataclasses import dataclass, field
from functools import cached_property

from blake3 import blake3

from node.identity import Verifier
from node.types import Digest, JobId
from node.wire.memory_messages import ForkEvidence, MemoryLine, MemoryReach
from node.wire.probation_messages import NO_STEP, ProbationStep


@dataclass(frozen=True)
class Signed:
    """A message as its signer sent it. ``id`` does not cover the signature."""

    kind: str
    job: JobId
    round: int
    signer: bytes
    """Ed25519 public key, 32 bytes."""
    body: bytes
    signature: bytes

    @cached_property
    def id(self) -> Digest:
        """Names the content: (kind, job, round, signer, body)."""
        hasher = blake3(b"artel/1 signed\0" + self.kind.encode() + b"\0")
        hasher.update(self.job + self.round.to_bytes(8, "big") + self.signer + self.body)
        return Digest(hasher.digest())

    def holds(self, verify: Verifier) -> bool:
        """Whether the signature is the signer's, on just this."""
        return verify(self.signer, self.kind, self.job, self.round, self.body, self.signature)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two messages that one key signed for one slot; ``first`` has the smaller body."""

    first: Signed
    second: Signed


@dataclass(frozen=True, slots=True)
class Judgement:
    """A commitment, screen, result or sketch, and findings that it is false, by rising signer."""

    first: Signed
    findings: tuple[Signed, ...]


Evidence = Contradiction | ForkEvidence | Judgement
"""What proves a key to have lied, once ``ledger.evidence.offender`` has checked it."""


@dataclass(frozen=True, slots=True)
class VoteSignature:
    """One elector's signature on a vote."""

    elector: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class PrepareCertificate:
    """A quorum of PREPAREs on one (view, decision)."""

    view: int
    decision_id: Digest
    votes: tuple[VoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of COMMITVOTEs on one (view, decision). Its id is that of the decision."""

    decision: bytes
    view: int
    votes: tuple[VoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The one value that a round decides (docs/protocol.md, "Decision")."""

    job: JobId
    round: int
    prev: Digest
    skip: bool
    skip_reason: str
    rule: str
    replicas: int
    plan: tuple[tuple[int, Digest], ...]
    refused: tuple[tuple[int, str], ...]
    result_roots: tuple[Digest, ...]
    state_root: Digest
    credits: tuple[tuple[int, int], ...]
    """(elector, micro-credits) minted."""
    bans: tuple[bytes, ...]
    """Public keys that have no seat or place any more, rising."""
    electors: tuple[tuple[bytes, int], ...]
    """Electorate of the next round: (public key, incarnation)."""
    lease_until_round: int
    halted: bool
    memory: tuple[MemoryReach, ...] = ()
    """How far each author of shared memory is, by rising peer id."""
    beacon: bytes = b""
    """Under which sketches backed the results; empty: each part had more than f equal ones."""
    unrevealed: tuple[int, ...] = ()
    """Electors who kept the nonce of their HAVE from the beacon, rising."""
    cleared: tuple[Digest, ...] = ()
    """Commitments of earlier rounds that were drawn for an audit and found true, rising."""
    probation: ProbationStep = NO_STEP


@dataclass(frozen=True, slots=True)
class PartCommitment:
    """What binds an author to one encoded part."""

    leaf: Digest
    square_norm: int
    exponent: int


@dataclass(frozen=True, slots=True)
class Commitment:
    """Kind ``commit``: one a round and peer, before any part is sent."""

    prev: Digest
    state_root: Digest
    parts: tuple[PartCommitment, ...]
    steps: int
    loss_micro: int
    local_before: bytes = b""
    local_after: bytes = b""
    """Hashes of the author's local memory before and after its steps; empty: not auditable."""
    memory: tuple[MemoryLine, ...] = ()
    """What its author holds of the job's shared memory, by rising public key."""
    compute_class: bytes = b""
    """What decides the bits of the author's steps; empty: nobody can replay them."""
    cleared: tuple[Digest, ...] = ()
    """Commitments of earlier rounds that the author audited first and found true, rising."""


@dataclass(frozen=True, slots=True)
class Have:
    """Kind ``have``: an elector tells the leader of ``view`` what it holds."""

    view: int
    held: tuple[tuple[int, Digest], ...]
    """(elector, commitment id) of each commitment that the sender holds."""
    prepared: PrepareCertificate | None
    nonce_hash: bytes = b""
    """Of the sender's nonce for this view; empty where no beacon can be needed."""


@dataclass(frozen=True, slots=True)
class ListMessage:
    """Kind ``list``: the contributions of the round, justified by a quorum of HAVEs."""

    view: int
    wide: bool
    haves: tuple[Signed, ...]
    commitments: tuple[tuple[int, Digest], ...]
    evidence: tuple[Evidence, ...] = ()
    """Against electors, by rising index, then strangers, by rising key: its decision bans them."""
    applications: tuple[Signed, ...] = ()
    """Of those who are to enter, by rising key."""
    probation: tuple[Signed, ...] = ()
    """By rising (kind, signer, round, body): commitments to count, findings that audits passed."""


@dataclass(frozen=True, slots=True)
class PartScreen:
    """One reducer's finding on one part."""

    part: int
    rows: tuple[int, ...]
    gram: bytes
    """int64 LE, upper triangle with diagonal over ``rows``, row by row."""
    complaints: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Screens:
    """Kind ``screen``: all findings of one reducer."""

    list_id: Digest
    screens: tuple[PartScreen, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Kind ``plan``: the screens from which everybody derives the same weights."""

    list_id: Digest
    screens: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Kind ``result``: roots of the results that one reducer computed."""

    plan_id: Digest
    results: tuple[tuple[int, Digest], ...]
    """(part, root of its encoded result)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Kind ``propose``: a decision with what justifies it."""

    view: int
    decision: bytes
    plan_id: Digest | None
    results: tuple[Signed, ...]
    haves: tuple[Signed, ...]
    prepared: PrepareCertificate | None
    beacon_id: Digest | None = None
    """Names the beacon under which ``sketches`` back the results of its seal."""
    sketches: tuple[Signed, ...] = ()


@dataclass(frozen=True, slots=True)
class Seal:
    """Kind ``seal``: what the reducers of one plan answered, before any nonce is told."""

    plan_id: Digest
    results: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Reveal:
    """Kind ``reveal``: an elector's nonce, told against one seal."""

    view: int
    seal_id: Digest
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Beacon:
    """Kind ``beacon``: the nonces that came, by rising elector."""

    seal_id: Digest
    reveals: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Sketches:
    """Kind ``sketch``: a contributor's CountSketches of its parts, packed."""

    beacon_id: Digest
    parts: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vote:
    """Kinds ``prepare`` and ``vote``."""

    view: int
    decision_id: Digest


@dataclass(frozen=True, slots=True)
class Scatter:
    """Parts of one contribution on their way to a reducer."""

    commitment: Signed
    parts: tuple[tuple[int, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Spread:
    """Encoded results on their way from the first reducer of a part to everybody."""

    plan_id: Digest
    parts: tuple[tuple[int, bytes], ...] = field(repr=False)
    result: Signed | None


RoundBody = Signed | Scatter | Spread | PrepareCertificate | Certificate | Evidence


@dataclass(frozen=True, slots=True)
class RoundMessage:
    """Envelope of everything on "round/1"."""

    job: JobId
    round: int
    prev: Digest
    body: RoundBody


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Ask for signed messages or result bytes by hash."""

    job: JobId
    round: int
    ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class FetchReply:
    """Those of them that the asked peer holds."""

    signed: tuple[Signed, ...]
    parts: tuple[tuple[int, bytes], ...] = field(repr=False)
