"""Aggregation rules by name (docs/protocol.md, "Rules"): many updates -> one."""

from node.exchange.rules.base import Mixture
from node.exchange.rules.chain import MIXERS, RULES, Rule, mean_weights, rule
from node.exchange.rules.combine import combine_weighted

__all__ = ["MIXERS", "RULES", "Mixture", "Rule", "combine_weighted", "mean_weights", "rule"]
