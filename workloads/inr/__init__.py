"""Implicit neural representation (INR): a network from pixel coordinates to colour."""

from workloads.inr.workload import InrWorkload

__all__ = ["InrWorkload"]
