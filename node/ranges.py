"""Address ranges, and how many peers of one range may have something that is scarce.

Pure. Identities are free, addresses are less so: a range is what one tenant, site or provider is
usually given. It proves nothing of a peer: many honest ones may share an address, and an attacker
may rent many. What an address claims is no proof either, unless a stream comes from it.
docs/protocol.md, "Address ranges".

Source:
    Marcus, Heilman, Goldberg 2018, "Low-Resource Eclipse Attacks on Ethereum's Peer-to-Peer
    Network", countermeasures: limits for each /24. RFC 6177: an end site gets up to a /48.
    Differs: two widths for each version of IP, and one share for all whose address shows nothing.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

NARROW = {4: 24, 6: 48}
"""IP version -> bits of the prefix that a small network shares."""
WIDE = {4: 16, 6: 32}
"""The same for a large one, in which there is room for ..."""
WIDE_TIMES = 4
"""... so many times as many peers."""
RANGE_PEERS = 32
"""Peers of a narrow range, by default."""
UNSHOWN = "no address of their own"
"""Range of all peers with names or relayed addresses alone; it counts as a wide one."""


class Range(NamedTuple):
    """Where an address lies."""

    name: str
    """For people: ``198.51.0.0/16``."""
    is_wide: bool


@dataclass(frozen=True)
class Ranges:
    """The limits of one node.

    Args:
        peers: how many of a narrow range.
        trusted: networks without a limit, such as ``203.0.113.0/24``; loopback, private and other
            addresses that are not routed on the internet never have one.
    """

    peers: int = RANGE_PEERS
    trusted: tuple[str, ...] = ()
    _networks: tuple[IPNetwork, ...] = field(init=False)

    def __post_init__(self) -> None:
        networks = tuple(ipaddress.ip_network(text) for text in self.trusted)
        object.__setattr__(self, "_networks", networks)

    def of(self, addresses: Sequence[str]) -> tuple[Range, ...]:
        """The ranges of a peer, by the first of its multiaddrs that is one of the internet.

        Empty: it has no limit, since an address of it is private or trusted, or none is known.
        """
        if not addresses:
            return ()
        found = [_ip_of(address) for address in addresses]
        shown = [ip for ip in found if ip is not None]
        if not shown and all(address.startswith("/memory/") for address in addresses):
            return ()
        if not shown:
            return (Range(UNSHOWN, True),)
        public = [ip for ip in shown if ip.is_global]
        if not public or any(public[0] in network for network in self._networks):
            return ()
        return _ranges(public[0])

    def most(self, range_: Range, share: int | None = None) -> int:
        """Peers of one range, where a narrow one may have ``share``; None: ``peers``."""
        narrow = self.peers if share is None else min(share, self.peers)
        return narrow * WIDE_TIMES if range_.is_wide else narrow

    def full(
        self, ranges: Sequence[Range], others: Iterable[Sequence[Range]], share: int | None = None
    ) -> Range | None:
        """The first of a peer's ranges in which others leave no room; None: there is room.

        Args:
            ranges: the peer's, see ``of``.
            others: those of each other peer that has what is scarce.
            share: see ``most``.
        """
        if not ranges:
            return None
        held = Counter(range_ for each in others for range_ in each)
        return next((r for r in ranges if held[r] >= self.most(r, share)), None)


@lru_cache(maxsize=8192)
def _ranges(ip: IPAddress) -> tuple[Range, ...]:
    found = []
    for bits, is_wide in ((NARROW[ip.version], False), (WIDE[ip.version], True)):
        found.append(Range(str(ipaddress.ip_network((ip, bits), strict=False)), is_wide))
    return tuple(found)


@lru_cache(maxsize=8192)
def _ip_of(address: str) -> IPAddress | None:
    """The IP address of a multiaddr (peer input); None: it is a name, or goes through a relay."""
    words = address.split("/")
    if len(words) < 3 or words[1] not in ("ip4", "ip6") or "p2p-circuit" in words:
        return None
    try:
        ip = ipaddress.ip_address(words[2])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):  # the same host, whatever carries it
        teredo = ip.teredo
        return ip.ipv4_mapped or ip.sixtofour or (teredo[1] if teredo else None) or ip
    return ip
