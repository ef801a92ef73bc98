"""Virtual time, simulated ports and attacks: the real daemon under every fault."""
