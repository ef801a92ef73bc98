"""``artel up``: a whole swarm on one machine."""
