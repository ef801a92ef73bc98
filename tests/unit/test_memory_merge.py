"""Exchanging what two nodes hold is a merge: commutative, associative, idempotent, as a naive one.

Real planning, intake and chains; only the stream between them is a loop. Where an author forks
*and* quotas evict, the proof may be gone before two nodes meet: then the order decides whether the
fork is found, but all who go on exchanging end with one set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from node.ledger.forks import check_fork, contradict
from node.ledger.frontier import memory_root
from node.memory.config import MemoryPace, MemorySpec
from node.memory.intake import Intake, Step
from node.memory.memory_set import MemorySet
from node.memory.planning import PeerState, Planner
from node.merkle import digest
from node.types import Digest, PeerId
from node.wire.convert_memory import encode_batch
from node.wire.memory_messages import Batch, ForkEvidence, MemoryLine, SignedHeader
from simulator.host.signer import KeyedSigner, verify
from simulator.memory_liar import chain_of
from simulator.memory_world import JOB

ROOMY = MemorySpec(key_dims=1, entries_per_author=4000)
TIGHT = MemorySpec(key_dims=1, entries_per_author=24, batches_per_author=7)
AUTHORS = [KeyedSigner(digest("author", bytes([i]))) for i in range(2)]
OWN, OTHER = PeerId("own"), PeerId("other")

Branches = list[list[Batch]]
"""Chains of one author; the first is the trunk, others leave it somewhere."""


@dataclass
class Node:
    """A set and the batches behind it."""

    spec: MemorySpec
    held: MemorySet = field(init=False)
    bodies: dict[Digest, Batch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held = MemorySet([a.peer_id for a in AUTHORS], self.spec)

    def add(self, batch: Batch) -> None:
        self.held.add(batch.signed)
        self.bodies[batch.signed.id] = batch

    def copy(self) -> "Node":
        other = Node(self.spec, dict(self.bodies))
        for author in self.held.authors:
            chain = self.held.chain(author)
            other.held.restore(author, chain.headers())
            if chain.evidence is not None:
                other.held.fork(chain.evidence)
        return other

    def batches(self, author: PeerId, first: int) -> list[Batch]:
        return [
            self.bodies[s.id] for s in self.held.chain(author).headers() if s.header.seq >= first
        ]

    def pull(self, peer: "Node") -> None:
        """Ask ``peer`` until it has nothing more that is wanted."""
        for proof in peer.held.evidence():
            check_fork(proof, JOB, verify)
            self.held.fork(proof)
        planner = Planner(self.held, MemoryPace(), 0.0)
        state = PeerState({line.author: line for line in peer.held.lines()})
        for turn in range(1000):
            plan = planner.plan(OTHER, state, float(turn))
            if not plan.wants:
                return
            planner.began(OTHER, plan.wants, float(turn))
            intake = Intake(JOB, self.held, verify, OTHER, plan.wants)
            for want in plan.wants:
                left = want.bytes_max
                sent = peer.batches(want.author, want.from_seq)[:3]  # a short stream
                for number, batch in enumerate(sent):
                    left -= len(encode_batch(batch))
                    if left >= 0 or not number:
                        self.take(intake, batch)
            planner.ended(OTHER, state)
        raise AssertionError("it never has enough")

    def take(self, intake: Intake, batch: Batch) -> None:
        outcome = intake.take(batch, len(encode_batch(batch)))
        if outcome.step is Step.APPEND:
            self.add(batch)
        elif outcome.step is Step.STAGED:
            self.bodies[batch.signed.id] = batch
        elif outcome.step is Step.JUMP:
            for each in self.held.jump(batch.header.author):
                self.bodies[each.signed.id] = each
        elif outcome.evidence is not None:
            check_fork(outcome.evidence, JOB, verify)
            self.held.fork(outcome.evidence)


def merged(a: Node, b: Node) -> Node:
    """What both hold after a whole exchange; the arguments stay as they are."""
    a, b = a.copy(), b.copy()
    for one, other in ((a, b), (b, a), (a, b)):
        one.pull(other)
    assert a.held.root() == b.held.root()
    return a


def naive_root(nodes: Iterable[Node], spec: MemorySpec) -> Digest:
    """All headers in one heap: a contradiction condemns, else the newest that fit are kept."""
    lines = []
    everything = list(nodes)
    for author in sorted(a.peer_id for a in AUTHORS):
        headers: dict[Digest, SignedHeader] = {}
        condemned = False
        for node in everything:
            chain = node.held.chain(author)
            condemned |= chain.is_forked
            headers |= {s.id: s for s in chain.headers()}
        condemned |= any(contradict(a, b) for a, b in combinations(headers.values(), 2))
        if condemned:
            lines.append(MemoryLine(author, forked=True))
        elif headers:
            lines.append(_kept(sorted(headers.values(), key=lambda s: s.header.seq), spec))
    return memory_root(lines)


def _kept(headers: Sequence[SignedHeader], spec: MemorySpec) -> MemoryLine:
    head = headers[-1].header
    kept = [
        s.header.seq
        for s in headers
        if head.end_entry - s.header.first_entry <= spec.entries_quota
        and head.seq - s.header.seq < spec.batches_per_author
    ]
    return MemoryLine(head.author, min(kept), head.seq + 1, head.end_entry, headers[-1].id)


def branches_of(
    signer: KeyedSigner, sizes: list[int], cuts: list[int], spec: MemorySpec
) -> Branches:
    trunk = chain_of(signer, spec, sizes)
    branches = [trunk]
    for number, cut in enumerate(cuts, 1):
        at = cut % len(trunk)
        root = trunk[at - 1].signed if at else None
        side = chain_of(signer, spec, sizes[at:], float(number), after=root)
        branches.append(trunk[:at] + side)
    return branches


@st.composite
def nodes(draw: st.DrawFn, spec: MemorySpec, *, forks: bool, count: int = 3) -> list[Node]:
    """Nodes that each followed one branch of every author for a while."""
    most = spec.entries_per_batch
    made = [Node(spec) for _ in range(count)]
    for signer in AUTHORS:
        sizes = draw(st.lists(st.integers(1, min(most, 6)), min_size=1, max_size=14))
        cuts = draw(st.lists(st.integers(0, 13), max_size=2)) if forks else []
        branches = branches_of(signer, sizes, cuts, spec)
        for node in made:
            branch = draw(st.sampled_from(branches))
            for batch in branch[: draw(st.integers(0, len(branch)))]:
                node.add(batch)
    return made


LAWS = settings(max_examples=60, deadline=None)


def check_laws(made: list[Node], spec: MemorySpec) -> None:
    a, b, c = made
    ab = merged(a, b)
    assert ab.held.root() == merged(b, a).held.root() == naive_root([a, b], spec)
    assert merged(a, a).held.root() == a.held.root()
    assert merged(ab, b).held.root() == ab.held.root()
    whole = merged(ab, c).held.root()
    assert whole == merged(a, merged(b, c)).held.root() == naive_root(made, spec)


@LAWS
@given(nodes(ROOMY, forks=True))
def test_merging_is_a_join_where_authors_fork(made: list[Node]) -> None:
    check_laws(made, ROOMY)


@LAWS
@given(nodes(TIGHT, forks=False))
def test_merging_is_a_join_where_quotas_evict(made: list[Node]) -> None:
    check_laws(made, TIGHT)


@LAWS
@given(nodes(TIGHT, forks=True, count=5), st.integers(0, 2**32 - 1))
def test_whoever_goes_on_exchanging_ends_with_one_set(made: list[Node], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        one, other = rng.permutation(len(made))[:2]
        made[one].pull(made[other])
    for _ in range(2):  # everybody asks everybody: nothing is left to chance
        for one, other in combinations(made, 2):
            one.pull(other)
            other.pull(one)
    assert len({node.held.root() for node in made}) == 1


@LAWS
@given(nodes(TIGHT, forks=True, count=2))
def test_what_is_held_is_a_function_of_the_head(made: list[Node]) -> None:
    for node in made:
        for author in node.held.authors:
            chain = node.held.chain(author)
            assert chain.is_complete
            assert chain.entries <= TIGHT.entries_quota
            assert len(chain) <= TIGHT.batches_per_author


def test_evidence_is_small_and_says_all() -> None:
    one, other = (chain_of(AUTHORS[0], ROOMY, [3], value) for value in (1.0, 2.0))
    proof = ForkEvidence(one[0].signed, other[0].signed)
    check_fork(proof, JOB, verify)
    assert len(proof.one.raw) + len(proof.other.raw) < 512
    again = replace(proof, other=proof.one)
    assert not contradict(again.one, again.other)
