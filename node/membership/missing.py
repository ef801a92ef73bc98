"""Why a peer that is needed is not here, in words. Pure."""

from node.membership.worth import Peer
from node.types import PeerId


def missing(peer: Peer | None, now: float, banned: str = "") -> str:
    """What is wrong with a peer; empty: it is here.

    Args:
        peer: what is known of it; None: nothing.
        now: unix seconds.
        banned: why it is out for good; empty: it is not.
    """
    if banned:
        return f"is banned: it {banned}"
    if peer and peer.shunned_until > now:
        errors = ", ".join(f"{count} {reason}" for reason, count in sorted(peer.errors.items()))
        return f"is shunned for {peer.shunned_until - now:.0f} s more ({errors})"
    if peer is None or peer.record is None:
        if peer and peer.failures:
            return f"was never seen and did not answer {_calls(peer.failures)}"
        return "was never seen"
    if peer.record.expires_unix_s <= now:
        return f"fell silent: its record expired {now - peer.record.expires_unix_s:.0f} s ago"
    if peer.failures:
        return f"is known but did not answer {_calls(peer.failures)} in a row"
    return ""


def short(peer_id: PeerId) -> str:
    """The end of a peer id, which differs between peers, for sentences."""
    return f"...{peer_id[-8:]}"


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"
