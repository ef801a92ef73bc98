"""The maths of one round, as pure functions that run in the maths lane.

Encode an update, screen rows, reduce parts, apply results: nothing here waits or decides. Shapes:
d parameters, cut into P parts by ``Geometry``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from node.errors import Malformed
from node.exchange.codecs import Codec, codec
from node.exchange.core import RoundRules
from node.exchange.feedback import compensate, residual_after
from node.exchange.gram import IntegerRow, assemble_gram, integer_gram, quantise_row
from node.exchange.partition import part_slices
from node.exchange.reduction import Resolution, pack_gram, unpack_gram
from node.exchange.rules import combine_weighted, rule
from node.jobs.manifest import JobManifest
from node.ledger.electorate import Electorate
from node.merkle import leaf
from node.ports import FloatVector
from node.state.outer import OuterState, outer_step_parts
from node.state.snapshot import Shapes, state_root
from node.types import Digest, JobId, PeerId
from node.wire.memory_messages import MemoryLine
from node.wire.messages import Commitment, PartCommitment, PartScreen

NOBODY = PeerId("")
"""Results belong to the round, not to a peer."""
LOSS_MAX = 1e12
"""Losses are shown, never used; larger ones are shown as this."""


@dataclass(frozen=True)
class Geometry:
    """How the flat vector of one job is cut and encoded: fixed by the manifest and the founders.

    ``f`` and some of ``rules`` follow from the electorate of a round (``with_electorate``).
    """

    job: JobId
    d: int
    shapes: Shapes
    slices: tuple[slice, ...]
    codec: Codec
    result_codec: Codec
    rules: RoundRules
    f: int
    lr: float
    momentum: float
    nesterov: bool

    @cached_property
    def part_sizes(self) -> tuple[int, ...]:
        """Coordinates of each part."""
        return tuple(s.stop - s.start for s in self.slices)

    def with_electorate(self, manifest: JobManifest, electorate: Electorate) -> "Geometry":
        """The same cut under the rules for this electorate."""
        exchange = manifest.exchange
        small, f = rule(exchange.rule_small), electorate.f
        rules = replace(
            self.rules,
            replicas=min(exchange.replicas or electorate.replicas, electorate.n),
            group_min=max(manifest.round.group_min, small.m_min(f)),
            rule_min=rule(exchange.rule).m_min(f),
        )
        return replace(self, rules=rules, f=f)


def geometry(job: JobId, manifest: JobManifest, shapes: Shapes, founders: Electorate) -> Geometry:
    """The geometry of a job, under the rules for its first electorate.

    Raises:
        ConfigError: the manifest names a codec or rule that does not exist.
    """
    d = sum(int(np.prod(shape, dtype=np.int64)) for _, shape in shapes)
    exchange = manifest.exchange
    up, down = codec(exchange.codec), codec(exchange.result_codec or exchange.codec)
    align = int(np.lcm(up.align, down.align))
    slices = part_slices(d, founders.n, up.encoded_bytes(d), align=align)
    sizes = [s.stop - s.start for s in slices]
    rules = RoundRules(
        part_bytes=tuple(up.encoded_bytes(s) for s in sizes),
        result_bytes=tuple(down.encoded_bytes(s) for s in sizes),
        replicas=0,
        group_min=0,
        rule=exchange.rule,
        rule_min=0,
        rule_small=exchange.rule_small,
    )
    outer = manifest.outer
    cut = Geometry(
        job, d, shapes, slices, up, down, rules, founders.f,
        outer.lr, outer.momentum, outer.nesterov,
    )  # fmt: skip
    return cut.with_electorate(manifest, founders)


def start_state(g: Geometry, params: FloatVector) -> OuterState:
    """The state of round 0."""
    return OuterState(params, np.zeros(g.d, np.float32) if g.momentum else None)


@dataclass(frozen=True)
class Encoded:
    """An update on its way out."""

    parts: tuple[bytes, ...]
    commitment: Commitment
    residual: FloatVector
    """Compression error that stays here if the contribution is used. Shape [d]."""


def encode_update(
    g: Geometry,
    update: FloatVector,
    residual: FloatVector,
    *,
    round_: int,
    peer: PeerId,
    prev: Digest,
    root: Digest,
    steps: int,
    loss: float,
    memory: tuple[MemoryLine, ...] = (),
) -> Encoded:
    """Encode ``update + residual`` part by part and bind us to it.

    Args:
        g: Geometry of the job.
        update: Shape [d].
        residual: What earlier rounds could not send. Shape [d].
        round_: The round.
        peer: Ourselves.
        prev: Id of the last decision.
        root: Root of the state that training started from.
        steps: Local steps done.
        loss: Mean training loss.
        memory: What we hold of the job's shared memory, by rising public key.
    """
    parts: list[bytes] = []
    bound: list[PartCommitment] = []
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
    return Encoded(tuple(parts), commitment, lost)


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
