"""The global state: canonical parameters, outer optimizer, its Merkle root."""
