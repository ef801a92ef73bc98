"""Who can dial whom: three classes of hosts, as libp2p's hole punching meets them.

Modelled, as facts about a pair: an ``open`` host has a public address and is dialled by everybody.
Behind a NAT nobody is dialled out of the blue; a go-between, an open host that both reach, passes
the wish on. Then a host behind any NAT dials an open caller back (connection reversal), and two
``cone`` hosts dial each other at once (hole punching): their mapping is the same for every target,
so that each knows where to aim. A ``symmetric`` NAT maps each target to another port, which nobody
can tell beforehand; cones are taken to filter by address and port, so that this port is needed.
A stream that exists works both ways.

Left out: the go-between carries no payload (relayed streams), punching always works where it can
(measured: about 70 %), mappings never time out, no two hosts share a NAT.

Source: RFC 4787 sections 4.1 and 5 (mapping, filtering), RFC 5128 section 3.3 (hole punching),
RFC 5780 section 4; libp2p specification "DCUtR".
"""

from typing import Literal

Nat = Literal["open", "cone", "symmetric"]
PUNCH_TRIPS = 2
"""Round trips through the go-between, before the dial itself."""
SILENCE_S = 5.0
"""A dial that is never answered is given up after this."""


def can_join(source: Nat, target: Nat) -> bool:
    """Can these two have a stream, whoever wants it?"""
    return "open" in (source, target) or source == target == "cone"


def needs_go_between(target: Nat) -> bool:
    """Must somebody pass the wish on?"""
    return target != "open"
