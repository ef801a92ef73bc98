"""Attacks on audits: what an auditor says of others."""

from dataclasses import replace

from node.wire.audit import KIND, Verdict, decode_finding, encode_finding
from simulator.attacks.base import Attack


class accuse(Attack):
    """Finds every work that it audits false, whatever its own replay gave.

    Source: false accusations are what "accusations" of Gorbunov et al. 2022, arXiv:2106.11257
        (BTARD, Algorithm 3) must survive; there the accuser is banned if all others disagree.
    """

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """A finding of a mismatch."""
        if kind != KIND:
            return body
        return encode_finding(replace(decode_finding(body), verdict=Verdict.MISMATCH))
