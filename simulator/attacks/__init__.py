"""What a Byzantine node may do, by name: the entry-point group ``artel.attacks``.

Each class takes the scale and the seed of ``artel node run --attack NAME[:SCALE]`` and is a
``node.ports.Behaviour`` around an otherwise honest node. Names are those of the literature.
"""

from collections.abc import Mapping
from types import MappingProxyType

from node.errors import ConfigError
from simulator.attacks.auditors import accuse, slander
from simulator.attacks.base import Attack
from simulator.attacks.claims import inflate_steps, inflate_weight
from simulator.attacks.crowd import alie, alie_opt, drift, ipm, mimic, min_max, min_sum
from simulator.attacks.few import (
    false_result,
    false_sketch,
    gram_permute,
    gram_shrink,
    gram_zero,
    hide_nonce,
    hide_sketch,
    late_result,
    narrow_gram,
    narrow_result,
)
from simulator.attacks.identities import eclipse, sybil
from simulator.attacks.labels import mislabel_flood, mislabel_memory, mislabel_near
from simulator.attacks.leaders import censor, skip_leader, unfair_leader
from simulator.attacks.memories import flood_memory, inflate_memory, random_memory
from simulator.attacks.messages import (
    bad_signatures,
    garbage,
    old_parts,
    silent,
    silent_reducer,
    withhold,
    withhold_some,
)
from simulator.attacks.reducers import (
    collude,
    drop_contributor,
    wrong_gram,
    wrong_gram_favour,
    wrong_slice,
    wrong_weights,
)
from simulator.attacks.shelves import false_shelf
from simulator.attacks.signatures import (
    double_propose,
    double_vote,
    equivocate,
    frame,
    replay,
)
from simulator.attacks.values import (
    below_tolerance,
    denormal,
    gaussian,
    huge,
    inf,
    nan,
    sign_flip,
    zero,
)
from simulator.attacks.wires import flood, malformed, oversized, slow_loris
from simulator.attacks.workers import free_ride_copy, free_ride_noise, label_flip, stale

__all__ = [
    "ATTACKS",
    "FEW_ATTACKS",
    "MEMORY_ATTACKS",
    "Attack",
    "accuse",
    "alie",
    "alie_opt",
    "bad_signatures",
    "below_tolerance",
    "censor",
    "collude",
    "denormal",
    "double_propose",
    "double_vote",
    "drift",
    "drop_contributor",
    "eclipse",
    "equivocate",
    "false_result",
    "false_shelf",
    "false_sketch",
    "flood",
    "flood_memory",
    "frame",
    "free_ride_copy",
    "free_ride_noise",
    "free_ride_stale",
    "garbage",
    "gaussian",
    "gram_permute",
    "gram_shrink",
    "gram_zero",
    "hide_nonce",
    "hide_sketch",
    "huge",
    "inf",
    "inflate_memory",
    "inflate_steps",
    "inflate_weight",
    "ipm",
    "label_flip",
    "late_result",
    "make_attack",
    "malformed",
    "mimic",
    "min_max",
    "min_sum",
    "mislabel_flood",
    "mislabel_memory",
    "mislabel_near",
    "nan",
    "narrow_gram",
    "narrow_result",
    "old_parts",
    "oversized",
    "random_memory",
    "replay",
    "sign_flip",
    "silent",
    "silent_reducer",
    "skip_leader",
    "slander",
    "slow_loris",
    "stale",
    "sybil",
    "unfair_leader",
    "withhold",
    "withhold_some",
    "wrong_gram",
    "wrong_gram_favour",
    "wrong_slice",
    "wrong_weights",
    "zero",
]

free_ride_stale = stale

_CONTRIBUTOR: tuple[type[Attack], ...] = (
    sign_flip, ipm, alie, alie_opt, min_max, min_sum, mimic, gaussian, zero, nan, inf, huge,
    denormal, label_flip, free_ride_noise, stale, free_ride_copy, drift, below_tolerance, garbage,
    old_parts,
)  # fmt: skip
_REDUCER: tuple[type[Attack], ...] = (
    wrong_slice, drop_contributor, wrong_weights, wrong_gram, wrong_gram_favour, silent_reducer,
    collude,
)  # fmt: skip
_PROTOCOL: tuple[type[Attack], ...] = (
    equivocate, double_vote, double_propose, frame, bad_signatures, replay, inflate_steps,
    inflate_weight, withhold, withhold_some, unfair_leader, skip_leader, censor, accuse,
    false_shelf, sybil, eclipse, flood, slow_loris, oversized, malformed, silent,
)  # fmt: skip

ATTACKS: Mapping[str, type[Attack]] = MappingProxyType(
    {kind.__name__: kind for kind in (*_CONTRIBUTOR, *_REDUCER, *_PROTOCOL)}
    | {"free_ride_stale": stale}
)
"""Name -> class, in the order of the roles: contributor, reducer, protocol."""
MEMORY_ATTACKS: Mapping[str, type[Attack]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            inflate_memory,
            random_memory,
            flood_memory,
            mislabel_memory,
            mislabel_flood,
            mislabel_near,
        )
    }
)
"""Name -> class of those that only mean something to a job with a shared memory."""
FEW_ATTACKS: Mapping[str, type[Attack]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            false_result, gram_zero, gram_shrink, gram_permute, hide_nonce, hide_sketch,
            false_sketch, late_result, narrow_gram, narrow_result, slander,
        )
    }
)  # fmt: skip
"""Name -> class of those that aim at the answers of few reducers, and at what is found of them."""


def make_attack(name: str, *, scale: float = 1.0, seed: int = 0) -> Attack:
    """An attack by name.

    Raises:
        ConfigError: there is none, or the scale means nothing.
    """
    known = {**ATTACKS, **MEMORY_ATTACKS, **FEW_ATTACKS}
    if name not in known:
        raise ConfigError(f"no attack is called {name!r}; there are: {', '.join(sorted(known))}")
    return known[name](scale=scale, seed=seed)
