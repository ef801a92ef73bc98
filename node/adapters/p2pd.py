"""What we ask of a running p2pd: to connect to a peer, and to open a stream to it.

It speaks p2pd's control protocol itself, on the socket that hivemind names: hivemind's own client
has no time-outs and leaves its sockets open when a call is cancelled.
"""

import asyncio
import math
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hivemind.p2p import PeerID
from hivemind.proto import p2pd_pb2
from hivemind.utils.multiaddr import Multiaddr

from node.errors import Unavailable
from node.types import PeerId

RESPONSE_BYTES_MAX = 64 * 1024
VARINT_BYTES_MAX = 10
_PRIVATE_KEY_HEAD = b"\x08\x01\x12\x40"
"""libp2p's protobuf PrivateKey {Type = Ed25519, Data = 64 bytes}, up to the data."""


def write_identity(path: Path, seed: bytes) -> None:
    """Write the key file from which p2pd takes its peer id; only the owner may read it.

    Args:
        path: Where; an old file is replaced.
        seed: Ed25519 private key, 32 bytes.

    Source: libp2p specs, peer-ids, "Keys": Ed25519 private keys are seed and public key, 64 bytes.
    """
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(_PRIVATE_KEY_HEAD + seed + public)


class P2pdControl:
    """Requests to one p2pd.

    Args:
        socket_path: The unix socket on which p2pd takes requests.
    """

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path

    async def connect(self, peer: PeerId, addresses: Sequence[str], *, timeout_s: float) -> None:
        """Connect to ``peer`` at the addresses given, besides those that p2pd knows.

        Raises:
            Unavailable: It cannot be reached in time, or its id or every address is unusable.
        """
        request = p2pd_pb2.Request(
            type=p2pd_pb2.Request.CONNECT,
            connect=p2pd_pb2.ConnectRequest(
                peer=_peer_bytes(peer),
                addrs=_usable(addresses),
                timeout=math.ceil(timeout_s),
            ),
        )
        _, writer, _ = await self._ask(request, timeout_s)
        writer.close()

    async def open_stream(
        self, peer: PeerId, protocol: str, *, timeout_s: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """A stream to ``peer``, dialled by p2pd if need be, and the multiaddr of its other end.

        Raises:
            Unavailable: It cannot be reached, or it does not speak ``protocol``.
        """
        request = p2pd_pb2.Request(
            type=p2pd_pb2.Request.STREAM_OPEN,
            streamOpen=p2pd_pb2.StreamOpenRequest(
                peer=_peer_bytes(peer), proto=[protocol], timeout=math.ceil(timeout_s)
            ),
        )
        return await self._ask(request, timeout_s)

    async def _ask(
        self, request: p2pd_pb2.Request, timeout_s: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        body = request.SerializeToString()
        writer = None
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(self._socket_path)
                writer.write(_varint(len(body)) + body)
                response = p2pd_pb2.Response.FromString(await _read_delimited(reader))
            if response.type == p2pd_pb2.Response.ERROR:
                raise Unavailable(response.error.msg)
        except BaseException as error:
            if writer is not None:
                writer.close()
            if isinstance(error, TimeoutError):
                raise Unavailable(f"no answer of p2pd within {timeout_s} s") from None
            if isinstance(error, OSError | EOFError):
                raise Unavailable("p2pd closed its socket") from error
            raise
        return reader, writer, text_of(response.streamInfo.addr)


def _peer_bytes(peer: PeerId) -> bytes:
    try:
        return bytes(PeerID.from_base58(peer).to_bytes())
    except ValueError as error:
        raise Unavailable(f"not a peer id: {peer[:80]!r}") from error


def _usable(addresses: Sequence[str]) -> list[bytes]:
    """Addresses as bytes, without those that do not parse: a peer may have written them."""
    usable = []
    for address in addresses:
        try:
            usable.append(bytes(Multiaddr(address).to_bytes()))
        except Exception:  # the parser raises whatever its codecs raise
            continue
    return usable


def text_of(address: bytes) -> str:
    """A multiaddr of p2pd as text; empty: none, or of a protocol that hivemind does not know."""
    try:
        return str(Multiaddr(address)) if address else ""
    except Exception:  # the parser raises whatever its codecs raise
        return ""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


async def _read_delimited(reader: asyncio.StreamReader) -> bytes:
    size = 0
    for shift in range(0, 7 * VARINT_BYTES_MAX, 7):
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    if size > RESPONSE_BYTES_MAX:
        raise Unavailable("p2pd gave an answer that is not one")
    return await reader.readexactly(size)
