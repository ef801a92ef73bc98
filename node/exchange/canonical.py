"""The golden check: does the arithmetic of this thread give the bits that all nodes agreed on?

A CPU, library or floating-point mode (flush to zero) that changes one bit would fork the state;
the node that finds out here does not vote.
"""

import numpy as np
from blake3 import blake3

from node.exchange.codecs import CODECS
from node.exchange.feedback import compensate, residual_after
from node.exchange.gram import assemble_gram, integer_gram, quantise_row
from node.exchange.partition import PART_BYTES, part_slices
from node.exchange.rules import RULES
from node.exchange.rules import rule as rule_named
from node.ports import FloatVector
from node.state.outer import OuterState, outer_step

GOLDEN = "29d0c9d46529798747da25ac0b36572136e07b940683e15e0af114d0d603b223"
"""BLAKE3 of all results of the fixed computation (tests/vectors/README.md)."""

ROWS = 7
CHAINS = ("norm_cap | nnm | caf", "nnm | trimmed_mean", "arc | bucketing | geometric_median")
COORDINATES = 10_000


def golden_check() -> str | None:
    """None if this thread computes the golden bits, else a sentence. Takes under 50 ms.

    Call it in the thread that will do the work: floating-point modes belong to a thread.
    """
    if (found := golden_digest()) == GOLDEN:
        return None
    return (
        "this machine's arithmetic differs from the swarm's (golden digest "
        f"{found[:16]}, expected {GOLDEN[:16]}): its state would fork, so it does not vote"
    )


def golden_digest() -> str:
    """Hex digest over decoding, quantising, Gram matrix, every rule, combining and stepping."""
    hasher = blake3()
    for scale_log2, (name, codec) in zip((0, -8, 3), sorted(CODECS.items()), strict=True):
        rows = []
        for k in range(ROWS):
            x = golden_row(f"{name} {k}", scale_log2)
            decoded = codec.decode(codec.encode(x), COORDINATES)
            residual = residual_after(x, decoded)
            for values in (decoded, residual, compensate(x, residual)):
                hasher.update(values.data.cast("B"))
            rows.append(decoded)
        screens = []
        for part in part_slices(COORDINATES, 2, 2 * PART_BYTES, align=codec.align):
            integers = [quantise_row(row[part]) for row in rows]
            screens.append((integer_gram(integers), [row.exponent for row in integers]))
            hasher.update(screens[-1][0].tobytes()).update(repr(screens[-1][1]).encode())
        gram = assemble_gram(screens)
        hasher.update(gram.tobytes())
        for rule in (*(RULES[name] for name in sorted(RULES)), *map(rule_named, CHAINS)):
            f = 2 if rule.m_min(2) <= ROWS else 1
            mixture = None
            if rule.kind != "coordinates":
                mixture = rule.mixture(gram, f, b"golden")
                hasher.update(mixture.tobytes())
            aggregate = rule.combine(rows, f, mixture)
            hasher.update(aggregate.data.cast("B"))
        state = OuterState(rows[0], rows[1])
        for nesterov in (True, False):
            state = outer_step(state, aggregate, 0.7, 0.9, nesterov)
            assert state.momentum is not None
            hasher.update(state.params.data.cast("B"))
            hasher.update(state.momentum.data.cast("B"))
    return hasher.hexdigest()


def golden_row(label: str, scale_log2: int) -> FloatVector:
    """A fixed row from hash output: most values near 2**scale_log2, some tiny or subnormal."""
    words = np.frombuffer(blake3(label.encode()).digest(length=4 * COORDINATES), "<u4")
    x = words.view("<i4").astype(np.float32)
    np.multiply(x, np.float32(2.0 ** (scale_log2 - 31)), out=x)
    # Every 16th value is below 2**-63 with a random exponent.
    bits = x.view(np.uint32)
    bits[::16] = words[::16] & np.uint32(0x9FFFFFFF)
    # All rows are so small here that every product and sum is subnormal.
    bits[3::64] = words[3::64] & np.uint32(0x81FFFFFF)
    x[2::64] = np.float32(-0.0)
    return x
