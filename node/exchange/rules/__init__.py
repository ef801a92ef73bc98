"""Aggregation rules by name (docs/protocol.md, "Rules"): many updates -> one."""

from collections.abc import Mapping
from types import MappingProxyType

from node.errors import ConfigError
from node.exchange.rules import coordinates, geometry
from node.exchange.rules.base import CoordinateRule, Rule, WeightRule
from node.exchange.rules.combine import combine_weighted

__all__ = ["RULES", "CoordinateRule", "Rule", "WeightRule", "combine_weighted", "rule"]

# 2f + 1: with half of the rows lying nothing tells which half is honest.
_ALL: tuple[Rule, ...] = (
    WeightRule("centered_clip", 2, 1, geometry.centered_clip),
    WeightRule("geometric_median", 2, 1, geometry.geometric_median),
    WeightRule("multi_krum", 2, 3, geometry.multi_krum),
    WeightRule("mean", 0, 1, geometry.mean),
    CoordinateRule("trimmed_mean", 2, 1, coordinates.trimmed_mean),
    CoordinateRule("median", 2, 1, coordinates.median),
)
RULES: Mapping[str, Rule] = MappingProxyType({each.name: each for each in _ALL})


def rule(name: str) -> Rule:
    """The rule called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in RULES:
        raise ConfigError(f"no rule is called {name!r}; choose one of {', '.join(RULES)}")
    return RULES[name]
