"""A keyed-hash signer: signatures for simulations, where nobody forges and speed counts."""

from blake3 import blake3

from node.identity import peer_id_of
from node.types import PeerId

_SECRET = bytes(range(32))


class KeyedSigner:
    """Stands in for ``node.identity.Identity`` behind the ``Signer`` protocol.

    Args:
        public_key: 32 bytes that name the peer; need not be a point of any curve.
    """

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        self.peer_id: PeerId = peer_id_of(public_key)

    def sign(self, kind: str, job: bytes, round_: int, body: bytes) -> bytes:
        """64 bytes that ``verify`` accepts."""
        return _mac(self.public_key, kind, job, round_, body)

    def nonce(self, job: bytes, round_: int, view: int) -> bytes:
        """32 bytes that nobody guesses who does not look here."""
        return _mac(self.public_key, "nonce", job, round_, view.to_bytes(4, "big"))[:32]


def verify(
    public_key: bytes, kind: str, job: bytes, round_: int, body: bytes, signature: bytes
) -> bool:
    """Whether ``KeyedSigner`` made this signature."""
    return _mac(public_key, kind, job, round_, body) == signature


def _mac(public_key: bytes, kind: str, job: bytes, round_: int, body: bytes) -> bytes:
    head = b"\0".join((public_key, kind.encode(), job, str(round_).encode()))
    return blake3(head + body, key=_SECRET).digest(length=64)
