"""Human-normalised scores, and how they are summed up over games and seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

import numpy as np


def normalise(score: float, random: float, human: float) -> float:
    """(score - random) / (human - random): 0 plays like chance, 1 like a person."""
    return (score - random) / (human - random)


def mean(runs: Mapping[str, Sequence[float]]) -> float:
    """Over games, of the mean over seeds. Source: rliable, ``aggregate_mean``."""
    return fmean(fmean(scores) for scores in runs.values())


def middle(runs: Mapping[str, Sequence[float]]) -> float:
    """Median over games of the mean over seeds. Source: rliable, ``aggregate_median``."""
    return median(fmean(scores) for scores in runs.values())


def interquartile_mean(runs: Mapping[str, Sequence[float]]) -> float:
    """Mean of the middle half of all runs, games and seeds together.

    A quarter of the runs, rounded down, is cut off at either end.

    Source: rliable, ``aggregate_iqm`` = scipy's ``trim_mean(all runs, 0.25)``.
    """
    everything = np.sort([score for scores in runs.values() for score in scores])
    cut = len(everything) // 4
    return float(everything[cut : len(everything) - cut].mean())
