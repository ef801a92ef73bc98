"""The maths of checked plans: a contributor's sketches, what they refute, parts computed again.

Pure; runs in the maths lane. Every honest elector comes to the same verdict, bit by bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.errors import Malformed
from node.exchange.answers import PartTruth
from node.exchange.core import PlanState, RoundContext
from node.exchange.gram import quantise_row
from node.exchange.reduction import Resolution, unpack_gram
from node.exchange.sketch import (
    PartClaim,
    gram_mismatch,
    pack_sketch,
    result_mismatch,
    sketch_row,
    unpack_sketch,
)
from node.jobs.geometry import Geometry
from node.jobs.work import Row, results_of, screen_parts, weights_of
from node.types import Digest
from node.wire.messages import Commitment


def sketch_parts(g: Geometry, beacon: Digest, parts: Sequence[bytes]) -> tuple[bytes, ...]:
    """The packed sketches of one contributor's encoded parts.

    Raises:
        Malformed: a part does not decode; only an attack commits to such.
    """
    return tuple(
        pack_sketch(sketch_row(quantise_row(g.codec.decode(data, size)).values, beacon, part, k))
        for part, (data, size, k) in enumerate(
            zip(parts, g.part_sizes, g.rules.buckets, strict=True)
        )
    )


def refuted(
    g: Geometry,
    resolution: Resolution,
    rule_name: str,
    commitments: Mapping[int, Commitment],
    beacon: Digest,
    sketches: Sequence[Sequence[bytes]],
    results: Sequence[bytes],
) -> str:
    """Why a plan's Gram matrices or results do not fit the sketches; empty: they do.

    Args:
        g: Geometry of the job.
        resolution: what the plan's screens say; of a rule that weighs rows.
        rule_name: that rule.
        commitments: those of the contributors, by elector.
        beacon: under which the sketches were made.
        sketches: for each contributor, rising, the packed sketch of each part; sizes checked.
        results: the encoded result of each part.
    """
    contributors = resolution.contributors
    claims = [
        PartClaim(
            unpack_gram(packed, len(contributors)),
            np.stack([unpack_sketch(own[part], k) for own in sketches]),
            tuple(commitments[e].parts[part].exponent for e in contributors),
            size,
        )
        for part, (packed, k, size) in enumerate(
            zip(resolution.grams, g.rules.buckets, g.part_sizes, strict=True)
        )
    ]
    fault = gram_mismatch(claims)
    if fault is not None:
        return fault
    try:
        weights = weights_of(g, resolution, rule_name, commitments)
        for part, (claim, data) in enumerate(zip(claims, results, strict=True)):
            fault = _result_fault(g, beacon, part, claim, weights, data)
            if fault is not None:
                return f"part {part}: {fault}"
    except Malformed as error:
        return str(error)
    return ""


def _result_fault(
    g: Geometry,
    beacon: Digest,
    part: int,
    claim: PartClaim,
    weights: Sequence[float],
    data: bytes,
) -> str | None:
    size = g.part_sizes[part]
    row = quantise_row(g.result_codec.decode(data, size))
    longest = math.ldexp(math.sqrt(row.sq_norm) + math.sqrt(size) / 2, row.exponent)
    error = g.result_codec.error_norm(data, size, longest)
    sketch = sketch_row(row.values, beacon, part, g.rules.buckets[part])
    return result_mismatch(claim, weights, row, sketch, error)


@dataclass(frozen=True, eq=False)
class CheckedRound:
    """A certified round whose results sketches backed, as one node saw it."""

    context: RoundContext
    g: Geometry
    beacon: Digest
    plan_id: Digest
    plan: PlanState
    rule: str
    roots: tuple[Digest, ...]
    """One a part, of the result."""
    commitments: Mapping[int, Commitment]
    """Of the contributors, by elector."""
    own_parts: Sequence[bytes]
    """Our encoded parts; empty: we have none."""


def recomputed(checked: CheckedRound, part: int, rows: Sequence[bytes]) -> PartTruth:
    """What the rows of one part give, bit for bit.

    Args:
        checked: the round.
        part: which part.
        rows: its encoded rows, of the contributors in their order; leaves checked before.
    """
    g, context, resolution = checked.g, checked.context, checked.plan.resolution
    held = [
        Row(e, context.electorate.ids[e], checked.commitments[e], {part: data})
        for e, data in zip(resolution.contributors, rows, strict=True)
    ]
    (screen,), decoded = screen_parts(g, context.round, held, (part,))
    roots: dict[Digest, Digest] = {}
    if not screen.complaints:
        ((_, root, _),) = results_of(
            g, context.round, resolution, checked.rule, checked.commitments, decoded, (part,)
        )
        roots[checked.plan_id] = root
    return PartTruth(dict(checked.plan.listed), screen, roots)


def refuted_by(checked: CheckedRound, truth: PartTruth) -> str:
    """Why the certified answers for one part are false; empty: its rows give them."""
    part = truth.screen.part
    for elector, complaint in truth.screen.complaints:
        return f"elector {elector} should have been refused: {complaint}"
    if truth.screen.gram != checked.plan.resolution.grams[part]:
        return "its Gram matrix is not that of its rows"
    found = truth.roots[checked.plan_id]
    return "" if found == checked.roots[part] else "its result is not that of its rows"
