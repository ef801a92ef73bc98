"""The aggregation of ByzFL's published heat maps, as a chain that runs where Artel's rules run.

Source: Gonzalez et al. 2025, arXiv:2505.24802 (ByzFL): rows clipped to norm 2, NNM, then the
trimmed mean or three Weiszfeld steps from the origin.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from node.exchange.rules import MIXERS, RULES, Mixture, Rule, rule
from node.exchange.rules.base import Gram, Mixer, Weights, WeightStep
from simulator.bench.cases import geometric_median

CLIPPED_TO = 2.0


def _clip(gram: Gram, f: int, seed: bytes) -> Mixture:
    del f, seed
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    return np.diag(np.minimum(1.0, CLIPPED_TO / np.maximum(norms, CLIPPED_TO)))


def _median(gram: Gram, f: int) -> Weights:
    return geometric_median(gram, f, 0.0)


_STEPS = (Mixer("clip 2", _clip, lambda f, need: need), MIXERS["nnm"])
PEERS: Mapping[str, Rule] = MappingProxyType(
    {
        "byzfl trimmed_mean": Rule("byzfl trimmed_mean", _STEPS, RULES["trimmed_mean"].last),
        "byzfl geometric_median": Rule(
            "byzfl geometric_median",
            _STEPS,
            WeightStep("geometric_median T=3", 2, 1, _median),
        ),
    }
)


def any_rule(text: str) -> Rule:
    """One of ``PEERS``, or what ``node.exchange.rules.rule`` makes of the text.

    Raises:
        ConfigError: it is neither.
    """
    return PEERS.get(text.strip()) or rule(text)
