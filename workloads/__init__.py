"""Jobs that a swarm trains together. Each is found through the entry-point group ``artel.workloads``."""
