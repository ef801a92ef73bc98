"""The Transport port over hivemind's p2pd: streams are libp2p's, calls on them are ours."""

import asyncio
from collections.abc import Callable, Sequence

from hivemind.p2p import P2P
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo

from node.adapters.limits import Limits
from node.adapters.mux_transport import MuxTransport, Streams
from node.adapters.p2pd import P2pdControl, text_of
from node.errors import PeerError, Unavailable
from node.ranges import Ranges
from node.types import PeerId

STREAM_PROTOCOL = "/artel/calls/1"
ED25519_PEER_ID_PREFIX = "12D3KooW"


async def open_transport(
    p2p: P2P,
    control: P2pdControl,
    *,
    limits: Limits,
    on_peer_error: Callable[[PeerId, PeerError], None] | None = None,
    ranges: Ranges | None = None,
    is_spared: Callable[[PeerId], bool] = lambda peer: False,
) -> MuxTransport:
    """A transport on a running p2pd, already accepting streams.

    Callers are known by the peer id that libp2p authenticated; ids that do not hold an Ed25519 key
    are turned away, since nothing that they sign could be checked.
    """

    async def dial(peer: PeerId, addresses: Sequence[str]) -> Streams:
        if addresses:
            await control.connect(peer, addresses, timeout_s=limits.dial_s)
        return Streams(*await control.open_stream(peer, STREAM_PROTOCOL, timeout_s=limits.dial_s))

    async def accept(
        info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = PeerId(info.peer_id.to_base58())
        if peer.startswith(ED25519_PEER_ID_PREFIX):
            await transport.accept(peer, reader, writer, text_of(info.addr.to_bytes()))
        else:
            writer.close()

    suffix = f"/p2p/{p2p.peer_id.to_base58()}"
    try:
        visible = [str(address) for address in await p2p.get_visible_maddrs()]
    except ValueError:
        visible = []  # listens nowhere: it can dial, and be reached through a relay
    addresses = [address.removesuffix(suffix) for address in visible]
    own = PeerId(p2p.peer_id.to_base58())
    transport = MuxTransport(
        own, addresses, dial, limits=limits, on_peer_error=on_peer_error, ranges=ranges,
        is_spared=is_spared,
    )  # fmt: skip
    try:
        await p2p.add_binary_stream_handler(STREAM_PROTOCOL, accept)
    except Exception as error:
        raise Unavailable(f"p2pd refuses our protocol: {error}") from error
    return transport
