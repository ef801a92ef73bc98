"""Shared memory of a job: signed batches of entries that all its peers hold and reconcile."""
