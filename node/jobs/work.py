"""The maths of one round, as pure functions that run in the maths lane.

Encode an update, screen rows, reduce parts, apply results: nothing here waits or decides. Shapes:
d parameters, cut into P parts by ``Geometry``.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from node.errors import Malformed
from node.exchange.feedback import compensate, residual_after
from node.exchange.gram import IntegerRow, assemble_gram, integer_gram, quantise_row
from node.exchange.momentum import Momentum, advance
from node.exchange.reduction import Resolution, pack_gram, unpack_gram
from node.exchange.rules import combine_weighted, rule
from node.jobs.geometry import Geometry
from node.merkle import digest, leaf
from node.ports import FloatVector
from node.state.outer import OuterState, outer_step_parts
from node.state.snapshot import state_root
from node.types import Digest, PeerId
from node.wire.memory_messages import MemoryLine
from node.wire.messages import Commitment, PartCommitment, PartScreen

NOBODY = PeerId("")
"""Results belong to the round, not to a peer."""
LOSS_MAX = 1e12
"""Losses are shown, never used; larger ones are shown as this."""


def start_state(g: Geometry, params: FloatVector) -> OuterState:
    """The state of round 0."""
    return OuterState(params, np.zeros(g.d, np.float32) if g.momentum else None)


def data_seed(prev: Digest, peer: PeerId) -> bytes:
    """What the data of a contributor's steps is drawn from.

    Args:
        prev: id of the last decision.
        peer: the contributor.
    """
    return digest("data", prev + peer.encode())


@dataclass(frozen=True, eq=False)
class Local:
    """What a contributor carries from one of its updates to the next."""

    residual: FloatVector
    """What compression lost so far. Shape [d]."""
    momentum: Momentum

    @cached_property
    def hashes(self) -> bytes:
        """Of residual and momentum, 64 bytes; ``local_hash`` covers them."""
        weight = struct.pack("<d", self.momentum.weight)
        averaged = weight + self.momentum.average.astype("<f4").tobytes()
        residual = self.residual.astype("<f4").tobytes()
        return digest("local residual", residual) + digest("local momentum", averaged)

    @classmethod
    def new(cls, g: Geometry) -> "Local":
        """Before the first update, and after it had to start anew."""
        averaged = g.d if g.contributor_momentum else 0
        return cls(np.zeros(g.d, np.float32), Momentum.zero(averaged))


def local_hash(optimizer: bytes, local: Local) -> Digest:
    """What a contributor commits to of its local memory.

    Args:
        optimizer: digest of the workload's local state, 32 bytes.
        local: residual and momentum.
    """
    return digest("local memory", optimizer + local.hashes)


@dataclass(frozen=True)
class Replayable:
    """What binds an update to the steps that it came from."""

    before: bytes
    after: bytes
    """Digests of the workload's local state around the steps, 32 bytes."""
    compute_class: bytes


@dataclass(frozen=True)
class Encoded:
    """An update on its way out."""

    parts: tuple[bytes, ...]
    commitment: Commitment
    local: Local
    """What stays here if the contribution is used."""


def encode_update(
    g: Geometry,
    update: FloatVector,
    local: Local,
    *,
    round_: int,
    peer: PeerId,
    prev: Digest,
    root: Digest,
    steps: int,
    loss: float,
    memory: tuple[MemoryLine, ...] = (),
    replayable: Replayable | None = None,
) -> Encoded:
    """Encode ``update + residual`` part by part and bind us to it, after the job's momentum.

    Args:
        g: Geometry of the job.
        update: Shape [d].
        local: What earlier updates left.
        round_: The round.
        peer: Ourselves.
        prev: Id of the last decision.
        root: Root of the state that training started from.
        steps: Local steps done.
        loss: Mean training loss.
        memory: What we hold of the job's shared memory, by rising public key.
        replayable: What an auditor needs to know; None: nobody can replay the round.
    """
    momentum = local.momentum
    if g.contributor_momentum:
        momentum = advance(momentum, update, g.contributor_momentum)
        update = momentum.update
    parts: list[bytes] = []
    bound: list[PartCommitment] = []
    residual = local.residual
    lost = np.empty_like(residual)
    for index, at in enumerate(g.slices):  # a part at a time, while it is in cache
        x = compensate(update[at], residual[at])
        data = g.codec.encode(x)
        try:
            decoded = g.codec.decode(data, len(x))
            row = quantise_row(decoded)
            norm, exponent = row.sq_norm, row.exponent
        except (Malformed, ValueError):  # only an attack encodes what nobody can decode
            decoded, norm, exponent = np.zeros_like(x), 0, 0
        parts.append(data)
        place = leaf("update", g.job, round_, peer, index, data)
        bound.append(PartCommitment(place, norm, exponent))
        lost[at] = residual_after(x, decoded)
    shown = loss if abs(loss) < LOSS_MAX else LOSS_MAX
    commitment = Commitment(prev, root, tuple(bound), steps, round(shown * 1e6), memory=memory)
    after = Local(lost, momentum)
    if replayable is not None:
        commitment = replace(
            commitment,
            local_before=local_hash(replayable.before, local),
            local_after=local_hash(replayable.after, after),
            compute_class=replayable.compute_class,
        )
    return Encoded(tuple(parts), commitment, after)


@dataclass(frozen=True)
class Row:
    """One contribution as a reducer holds it for screening."""

    elector: int
    peer: PeerId
    commitment: Commitment
    parts: Mapping[int, bytes]
    """Part -> bytes; missing ones did not arrive."""


Decoded = dict[tuple[int, int], FloatVector]
"""(elector, part) -> decoded coordinates."""


def check_row(
    g: Geometry, round_: int, peer: PeerId, part: int, data: bytes, bound: PartCommitment
) -> tuple[IntegerRow, FloatVector] | str:
    """One encoded part of a contribution, checked against its commitment.

    Args:
        g: Geometry of the job.
        round_: The round.
        peer: Who committed to it.
        part: Which part.
        data: As it arrived.
        bound: What its author committed to.

    Returns:
        (the row for the Gram matrix, its coordinates), or the complaint about it.
    """
    if leaf("update", g.job, round_, peer, part, data) != bound.leaf:
        return "bad_leaf"
    try:
        x = g.codec.decode(data, g.part_sizes[part])
    except Malformed:
        return "malformed"
    integer = quantise_row(x)
    if (integer.sq_norm, integer.exponent) != (bound.square_norm, bound.exponent):
        return "bad_norm"
    return integer, x


def screen_parts(
    g: Geometry, round_: int, rows: Sequence[Row], parts: Sequence[int]
) -> tuple[tuple[PartScreen, ...], Decoded]:
    """Check every row of some parts, and compute the parts' Gram matrices.

    A row is good if its bytes are those of the commitment, decode to finite numbers, and have the
    committed norm and scale. How long it is does not matter: that is the rules' business.

    Args:
        g: Geometry of the job.
        round_: The round.
        rows: Listed contributions, rising by elector.
        parts: Parts that this reducer was drawn for.
    """
    screens: list[PartScreen] = []
    decoded: Decoded = {}
    for part in parts:
        integers = []
        good: list[int] = []
        complaints: list[tuple[int, str]] = []
        for row in rows:
            data = row.parts.get(part)
            if data is None:
                complaints.append((row.elector, "missing"))
                continue
            bound = row.commitment.parts[part]
            checked = check_row(g, round_, row.peer, part, data, bound)
            if isinstance(checked, str):
                complaints.append((row.elector, checked))
                continue
            integer, decoded[row.elector, part] = checked
            integers.append(integer)
            good.append(row.elector)
        gram = pack_gram(integer_gram(integers)) if integers else b""
        screens.append(PartScreen(part, tuple(good), gram, tuple(complaints)))
    return tuple(screens), decoded


def weights_of(
    g: Geometry, resolution: Resolution, rule_name: str, commitments: Mapping[int, Commitment]
) -> tuple[float, ...]:
    """Weight of each contributor under a Gram rule; equal shares under a coordinate rule."""
    contributors = resolution.contributors
    chosen = rule(rule_name)
    if chosen.kind == "coordinates":
        return (1.0 / len(contributors),) * len(contributors)
    grams = [
        (
            unpack_gram(packed, len(contributors)),
            [commitments[e].parts[part].exponent for e in contributors],
        )
        for part, packed in enumerate(resolution.grams)
    ]
    return tuple(chosen.weights(assemble_gram(grams), g.f).tolist())


def reduce_parts(
    g: Geometry,
    round_: int,
    resolution: Resolution,
    rule_name: str,
    weights: Sequence[float],
    decoded: Mapping[tuple[int, int], FloatVector],
    parts: Sequence[int],
) -> list[tuple[int, Digest, bytes]]:
    """Combine the contributors' rows of some parts: (part, root, encoded result) of each."""
    chosen = rule(rule_name)
    results: list[tuple[int, Digest, bytes]] = []
    for part in parts:
        rows = [decoded[e, part] for e in resolution.contributors]
        if chosen.kind == "weights":
            combined = combine_weighted(rows, np.array(weights))
        else:
            combined = chosen.combine(np.stack(rows), g.f)
        data = g.result_codec.encode(combined)
        results.append((part, result_root(g, round_, part, data), data))
    return results


def result_root(g: Geometry, round_: int, part: int, data: bytes) -> Digest:
    """Names an encoded result."""
    return leaf("result", g.job, round_, NOBODY, part, data)


def apply_results(
    g: Geometry, state: OuterState, results: Sequence[bytes]
) -> tuple[OuterState, Digest]:
    """The state after a round, and its root.

    Args:
        g: Geometry of the job.
        state: State before the round.
        results: Encoded result of each part.

    Raises:
        Malformed: a result that does not decode; its reducers agreed on nonsense.
    """
    parts = (
        (at, g.result_codec.decode(data, size))
        for at, size, data in zip(g.slices, g.part_sizes, results, strict=True)
    )
    after = outer_step_parts(state, parts, g.lr, g.momentum, g.nesterov)
    return after, state_root(after, g.shapes)
