"""Chance that nobody knew: one secret nonce of each elector, bound beforehand, told against a seal.

Each HAVE carries the hash of its signer's nonce. A nonce is told once a view, and only against the
seal of one plan, which holds the reducers' signed answers. So no reducer knew the beacon when it
answered. docs/protocol.md, "Checked reducers".

Source:
    Blum 1981, "Coin flipping by telephone": commit, then reveal. Gorbunov et al. 2022,
    arXiv:2106.11257, section 3 (BTARD) draws its checks so. Differs: who does not reveal is left
    out and the draw stands; a voter whose own nonce was left out does not prepare.
"""

from collections.abc import Mapping

from node.merkle import digest
from node.types import Digest


def nonce_hash(nonce: bytes) -> Digest:
    """What a HAVE carries of a nonce."""
    return digest("nonce", nonce)


def beacon_value(seal_id: Digest, nonces: Mapping[int, bytes]) -> Digest:
    """The beacon of a seal.

    Args:
        seal_id: names the plan and the signed results, so that chance is of them alone.
        nonces: elector -> nonce (32 bytes) of those who revealed.
    """
    told = b"".join(bytes([elector]) + nonces[elector] for elector in sorted(nonces))
    return digest("beacon", seal_id + told)
