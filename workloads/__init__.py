"""Jobs that a swarm trains together, found through the entry-point group ``artel.workloads``."""
