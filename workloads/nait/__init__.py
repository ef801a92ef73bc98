"""NAIT: reinforcement learning by remembering, without a network and without gradients."""

from workloads.nait.batch import Batch
from workloads.nait.learner import Learner, Progress

__all__ = ["Batch", "Learner", "Progress"]
