"""Aggregation rules by name (docs/protocol.md, "Rules"): many updates -> one."""

from node.exchange.rules.chain import MIXERS, RULES, Rule, rule
from node.exchange.rules.combine import combine_weighted

__all__ = ["MIXERS", "RULES", "Rule", "combine_weighted", "rule"]
