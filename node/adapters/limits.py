"""What one peer may take from us, whatever it sends."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one node's transport. The defaults suit 64 electors and 4 GB of memory."""

    calls_max: int = 128
    """Calls that a peer may have open with us, and we with it; ours above it wait."""
    request_bytes_max: int = 64 * 1024 * 1024
    """Declared bytes of a peer's requests above one frame that are open at once."""
    outbox_bytes_max: int = 32 * 1024 * 1024
    """Queued for a peer; above it, further calls of that peer are not begun."""
    write_buffer_bytes: int = 512 * 1024
    """Handed to the transport ahead of its socket: more is faster, less lets a vote pass sooner."""
    stall_s: float = 30.0
    """A peer that takes no byte, or grants no credit, for so long is given up."""
    dial_s: float = 10.0
    """Longest time to open a stream, handshake included; also for a peer that opens one to us."""
    backoff_first_s: float = 0.2
    backoff_s_max: float = 10.0
    """After a failed dial, calls fail at once for this long; doubled for each further failure."""
    links_max: int = 512
    """Streams with all peers together; further ones are refused."""
    peers_max: int = 4096
    """Peers whose addresses and traffic are remembered; unconnected ones are forgotten first."""
    addresses_max: int = 16
    """Addresses remembered of one peer."""
