"""The maths of one round, as pure functions that run in the maths lane.

Screen rows, reduce parts, apply results: nothing here waits or decides. What a contributor computes
is in ``encoding``. Shapes: d parameters, cut into P parts by ``Geometry``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.errors import Malformed
from node.exchange.gram import IntegerRow, assemble_gram, integer_gram, quantise_row
from node.exchange.reduction import Resolution, pack_gram, unpack_gram
from node.exchange.rules import Mixture, combine_weighted, mean_weights, rule
from node.jobs.geometry import Geometry
from node.merkle import digest, leaf
from node.ports import FloatVector
from node.state.outer import OuterState, outer_step_parts
from node.state.snapshot import state_root
from node.types import Digest, PeerId
from node.wire.messages import Commitment, PartCommitment, PartScreen

NOBODY = PeerId("")
"""Results belong to the round, not to a peer."""


def start_state(g: Geometry, params: FloatVector) -> OuterState:
    """The state of round 0."""
    return OuterState(params, np.zeros(g.d, np.float32) if g.momentum else None)


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


def rows_of(
    decoded: Mapping[Digest, Decoded],
    lists: Mapping[Digest, Mapping[int, Digest]],
    ids: Mapping[int, Digest],
    wanted: Sequence[tuple[int, int]],
) -> Decoded | None:
    """The screened rows of one list that are just those of some commitments; None: of no list.

    Two lists of a round may name different commitments of an elector that signed two.

    Args:
        decoded: list -> rows that were screened for it.
        lists: list -> elector -> commitment.
        ids: elector -> its commitment.
        wanted: (elector, part) of each row.
    """
    for list_id, rows in decoded.items():
        if rows.keys() >= {*wanted} and all(lists[list_id][e] == ids[e] for e, _ in wanted):
            return rows
    return None


def mixture_of(
    g: Geometry, resolution: Resolution, rule_name: str, commitments: Mapping[int, Commitment]
) -> Mixture | None:
    """The combinations that a rule makes of the contributions; None: it needs none."""
    contributors = resolution.contributors
    chosen = rule(rule_name)
    if chosen.kind == "coordinates":
        return None
    grams = [
        (
            unpack_gram(packed, len(contributors)),
            [commitments[e].parts[part].exponent for e in contributors],
        )
        for part, packed in enumerate(resolution.grams)
    ]
    return chosen.mixture(assemble_gram(grams), g.f, chance_of(resolution, commitments))


def chance_of(resolution: Resolution, commitments: Mapping[int, Commitment]) -> Digest:
    """Chance that all share, for rules that draw: fixed by what was committed, not before."""
    bound = (commitments[e] for e in resolution.contributors)
    return digest("chance", b"".join(c.prev + c.parts[0].leaf for c in bound))


def weights_of(
    g: Geometry, resolution: Resolution, rule_name: str, commitments: Mapping[int, Commitment]
) -> tuple[float, ...]:
    """Weight of each contributor under a Gram rule; equal shares under a coordinate rule.

    Where a rule orders coordinates of combinations, the share is that in the combinations.
    """
    mixture = mixture_of(g, resolution, rule_name, commitments)
    m = len(resolution.contributors)
    return (1.0 / m,) * m if mixture is None else tuple(mean_weights(mixture).tolist())


def reduce_parts(
    g: Geometry,
    round_: int,
    resolution: Resolution,
    rule_name: str,
    weights: Sequence[float],
    decoded: Mapping[tuple[int, int], FloatVector],
    parts: Sequence[int],
    mixture: Mixture | None = None,
) -> list[tuple[int, Digest, bytes]]:
    """Combine the contributors' rows of some parts: (part, root, encoded result) of each.

    ``mixture`` is that of ``mixture_of``, for rules of kind ``mixed``.
    """
    chosen = rule(rule_name)
    results: list[tuple[int, Digest, bytes]] = []
    for part in parts:
        rows = [decoded[e, part] for e in resolution.contributors]
        if chosen.kind == "weights":
            combined = combine_weighted(rows, np.array(weights))
        else:
            combined = chosen.combine(rows, g.f, mixture)
        data = g.result_codec.encode(combined)
        results.append((part, result_root(g, round_, part, data), data))
    return results


def results_of(
    g: Geometry,
    round_: int,
    resolution: Resolution,
    rule_name: str,
    commitments: Mapping[int, Commitment],
    decoded: Mapping[tuple[int, int], FloatVector],
    parts: Sequence[int],
) -> list[tuple[int, Digest, bytes]]:
    """What honest reducers of a plan make of some parts: (part, root, encoded result) of each.

    Raises:
        Malformed: the plan's Gram matrices are none that rows can have.
    """
    mixed = rule(rule_name).kind == "mixed"
    weights = weights_of(g, resolution, rule_name, commitments)
    mixture = mixture_of(g, resolution, rule_name, commitments) if mixed else None
    return reduce_parts(g, round_, resolution, rule_name, weights, decoded, parts, mixture)


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
