"""Why a peer that is needed is not here, in words. Pure."""

from collections.abc import Sequence

from node.membership.worth import Peer
from node.types import PeerId

PEERS_EXPLAINED = 4


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


def explain(lacking: Sequence[tuple[PeerId, str]], needed: int) -> str:
    """One sentence on the electors that are missing.

    Args:
        lacking: (peer, why) of each.
        needed: how many electors there are.
    """
    if not lacking:
        return f"all {needed} electors are here"
    more = len(lacking) - PEERS_EXPLAINED
    tail = f", and {more} more" if more > 0 else ""
    shown = ", ".join(f"{short(peer)} {reason}" for peer, reason in lacking[:PEERS_EXPLAINED])
    return f"{len(lacking)} of {needed} electors are missing: {shown}{tail}"
