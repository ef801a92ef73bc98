"""Rules by name, alone or chained: ``nnm | caf`` (docs/protocol.md, "Rules")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np

from node.errors import ConfigError
from node.exchange.rules import coordinates, diameter, geometry, mixers, spectral
from node.exchange.rules.base import (
    CoordinateStep,
    Gram,
    LastStep,
    Mixer,
    Mixture,
    Weights,
    WeightStep,
    check_rows,
    finite_gram,
)
from node.exchange.rules.combine import combine_weighted
from node.exchange.rules.space import mixed_gram, running
from node.ports import FloatVector

STEPS_MAX = 4
"""Steps of one chain."""

_MIXERS = (
    Mixer("norm_cap", mixers.norm_cap, lambda f, need: need),
    Mixer("arc", mixers.arc, lambda f, need: max(2 * f + 1, need)),
    Mixer("nnm", mixers.nnm, lambda f, need: max(2 * f + 1, need)),
    Mixer("bucketing", mixers.bucketing, lambda f, need: mixers.BUCKET * (need - 1) + 1),
    Mixer("krum_pick", mixers.krum_pick, lambda f, need: max(4 * f + 3, need + 2 * f)),
)
# 2f + 1: with half of the rows lying nothing tells which half is honest.
_LAST: tuple[LastStep, ...] = (
    WeightStep("caf", 2, 1, spectral.caf),
    WeightStep("centered_clip", 2, 1, geometry.centered_clip),
    WeightStep("geometric_median", 2, 1, geometry.geometric_median),
    WeightStep("krum", 2, 3, geometry.krum),
    WeightStep("multi_krum", 2, 3, geometry.multi_krum),
    WeightStep("mda", 2, 1, diameter.mda),
    WeightStep("smea", 2, 1, spectral.smea),
    WeightStep("mean", 0, 1, geometry.mean),
    CoordinateStep("trimmed_mean", 2, 1, coordinates.trimmed_mean),
    CoordinateStep("median", 2, 1, coordinates.median),
    CoordinateStep("meamed", 2, 1, coordinates.meamed),
    CoordinateStep("phocas", 2, 1, coordinates.phocas),
    CoordinateStep("sign_vote", 2, 1, coordinates.sign_vote),
    CoordinateStep("near_median", 2, 1, coordinates.near_median),
)
_SHORT = {"bulyan": ("krum_pick", "near_median")}
"""One name for a chain."""


@dataclass(frozen=True)
class Rule:
    """Many updates -> one."""

    name: str
    """Its one spelling."""
    mixers: tuple[Mixer, ...]
    last: LastStep

    @property
    def kind(self) -> Literal["weights", "coordinates", "mixed"]:
        """What decides: one weight a row, coordinates alone, or coordinates of combinations."""
        if self.last.kind == "weights":
            return "weights"
        return "mixed" if self.mixers else "coordinates"

    def m_min(self, f: int) -> int:
        """Least number of rows for which the rule is defined with ``f`` liars."""
        need = self.last.rows_per_liar * f + self.last.rows_least
        for mixer in reversed(self.mixers):
            need = mixer.m_min(f, need)
        return need

    def mixture(self, gram: Gram, f: int, seed: bytes = b"") -> Mixture:
        """Which combinations of the rows the aggregate is made of. Shape [K, M].

        K is 1 where the rule is one of weights. The elements are finite and within [0, 1]; those of
        one combination sum to 1 at most.

        Args:
            gram: Inner products of the rows. Shape [M, M]. Anything is survived, nan included.
            f: Liars to tolerate, at least 0.
            seed: Public and fixed after the rows are, for chance that all nodes share.

        Raises:
            ValueError: not square, f below 0, or fewer than ``m_min(f)`` rows.
        """
        check_rows(self.name, len(gram), self.m_min(f), f)
        if gram.shape != (len(gram), len(gram)):
            raise ValueError(f"a Gram matrix of shape {gram.shape} is not square")
        whole: Mixture | None = None
        with np.errstate(all="ignore"):
            gram = finite_gram(gram)
            for mixer in self.mixers:
                step = mixer.mix(gram, f, seed)
                gram = finite_gram(mixed_gram(gram, step))
                whole = step if whole is None else _product(step, whole)
            if self.last.kind == "weights":
                step = self.last.weights(gram, f)[None, :]
                whole = step if whole is None else _product(step, whole)
        if whole is None:
            whole = np.eye(len(gram))
        return np.minimum(whole, 1.0)

    def weights(self, gram: Gram, f: int, seed: bytes = b"") -> Weights:
        """The weight of each row in the aggregate, on average over combinations. Shape [M].

        Exact where the kind is ``weights``; else what rows contribute before their coordinates
        are ordered. Arguments and errors as for ``mixture``.
        """
        return mean_weights(self.mixture(gram, f, seed))

    def combine(
        self, rows: Sequence[FloatVector], f: int, mixture: Mixture | None = None
    ) -> FloatVector:
        """The aggregate, finite, in a new buffer. Shape [D].

        Args:
            rows: M decoded parts of shape [D], float32, finite.
            f: Liars to tolerate, at least 0.
            mixture: As ``mixture`` gave it; needed unless the kind is ``coordinates``.

        Raises:
            ValueError: f below 0, fewer than ``m_min(f)`` rows, or a mixture of another shape.
        """
        check_rows(self.name, len(rows), self.m_min(f), f)
        if self.kind == "coordinates":
            mixture = None
        elif mixture is None:
            raise ValueError(f"{self.name} needs a mixture, from the Gram matrix")
        if self.last.kind == "weights":
            if mixture is None or len(mixture) != 1:
                raise ValueError("a rule of weights has one combination")
            return combine_weighted(rows, mixture[0])
        with np.errstate(all="ignore"):
            if mixture is None:
                return self.last.combine(rows, f)
            return coordinates.combine_mixed(rows, mixture, self.last.combine, f)


def mean_weights(mixture: Mixture) -> Weights:
    """The weight of each row, on average over the combinations. Shape [M]."""
    return mixture[0] if len(mixture) == 1 else running(mixture.T) / len(mixture)


def _product(left: Mixture, right: Mixture) -> Mixture:
    """``left @ right``, summed from left to right."""
    total = np.zeros((len(left), right.shape[1]))
    for k, row in enumerate(right):
        np.add(total, left[:, k, None] * row, out=total)
    return total


MIXERS: Mapping[str, Mixer] = MappingProxyType({each.name: each for each in _MIXERS})
RULES: Mapping[str, Rule] = MappingProxyType(
    {each.name: Rule(each.name, (), each) for each in _LAST}
    | {
        name: Rule(name, tuple(MIXERS[step] for step in steps[:-1]), last)
        for name, steps in _SHORT.items()
        for last in _LAST
        if last.name == steps[-1]
    }
)
"""Rules of one name."""


@lru_cache(maxsize=256)
def rule(text: str) -> Rule:
    """The rule that ``text`` spells: a name, or mixers and a name with ``|`` between them.

    Raises:
        ConfigError: a name is unknown or out of place; says which and what to write.
    """
    names = [name.strip() for name in text.split("|")]
    if len(names) > STEPS_MAX:
        raise ConfigError(f"the rule {text!r} has {len(names)} steps; {STEPS_MAX} are the most")
    *before, last = names
    for name in before:
        if name in RULES:
            raise ConfigError(
                f"the rule {text!r} goes on after {name!r}, which ends a chain; "
                f"before another step may stand {', '.join(MIXERS)}"
            )
        if name not in MIXERS:
            raise ConfigError(f"no step is called {name!r}; choose one of {', '.join(MIXERS)}")
    if last in MIXERS:
        raise ConfigError(
            f"the rule {text!r} ends with {last!r}, which only prepares rows; "
            f"add ' | ' and one of {', '.join(RULES)}"
        )
    if last not in RULES:
        raise ConfigError(f"no rule is called {last!r}; choose one of {', '.join(RULES)}")
    if not before:
        return RULES[last]
    end = RULES[last]
    steps = (*(MIXERS[name] for name in before), *end.mixers)
    if len(steps) >= STEPS_MAX:
        raise ConfigError(f"the rule {text!r} has more than {STEPS_MAX} steps")
    return Rule(" | ".join(names), steps, end.last)
