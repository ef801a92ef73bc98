"""Scenarios drawn from seeds."""
