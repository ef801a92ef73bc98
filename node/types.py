"""Names for the values that every layer passes around.

Nothing here decides anything: ids, digests and rounds, each with its form and unit.
"""

from typing import NewType

PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58 (``12D3KooW...``): it holds the peer's Ed25519 public key."""

JobId = NewType("JobId", bytes)
"""BLAKE3 of the canonical manifest bytes, 32 bytes."""

Digest = NewType("Digest", bytes)
"""A BLAKE3 hash, 32 bytes."""

DIGEST_BYTES = 32
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
ELECTORS_MAX = 64
"""Largest electorate (docs/protocol.md, "Electorate")."""
