"""One host's own devices: disk, clock, compute, keys."""
