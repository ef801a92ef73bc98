"""Workloads for simulations: known optima, and one that costs nothing."""
