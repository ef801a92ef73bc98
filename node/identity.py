"""Who signs: an Ed25519 key, the libp2p peer id that holds it, and signatures over exact bytes.

Implements docs/protocol.md, "Signatures". A signature covers the domain of this protocol version,
the kind of message, the job, the round and the bytes as they are sent, so that none of them can be
replayed as another. Nothing is re-encoded before it is signed or verified.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.errors import Malformed
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PeerId

SEED_BYTES = 32
"""Length of an Ed25519 private seed."""
NO_JOB = bytes(DIGEST_BYTES)
"""Stands for the job in what belongs to no job (peer records)."""
PEER_ID_CHARS_MAX = 52
"""Length of every peer id with an Ed25519 key, and so the longest that is looked at."""

_DOMAIN = b"artel/1\0"
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {char: value for value, char in enumerate(_ALPHABET)}
# Identity multihash (0x00) of 36 bytes (0x24) of protobuf PublicKey{Type: Ed25519, Data: 32 bytes}.
_MULTIHASH_PREFIX = bytes.fromhex("002408011220")
_ROUND_MAX = 2**64 - 1
_CACHED_KEYS = 4096


class Signer(Protocol):
    """What signs in the name of this node; the simulator may give a cheaper one."""

    @property
    def peer_id(self) -> PeerId:
        """The signer's own id."""
        ...

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, kind: str, job: bytes, round_: int, body: bytes) -> bytes:
        """Signature of ``body`` in its place; 64 bytes."""
        ...

    def nonce(self, job: bytes, round_: int, view: int) -> bytes:
        """A secret of this node for one view, always the same; 32 bytes."""
        ...


Verifier = Callable[[bytes, str, bytes, int, bytes, bytes], bool]
"""(public key, kind, job, round, body, signature) -> does it verify. ``verify`` is the real one."""


class Identity:
    """An Ed25519 key pair, made from its seed.

    Args:
        seed: 32 secret bytes, from the key file or, in a simulation, from the master seed.
    """

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES, f"a seed has {SEED_BYTES} bytes, not {len(seed)}"
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key: bytes = self._key.public_key().public_bytes_raw()
        self.peer_id: PeerId = peer_id_of(self.public_key)

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    @property
    def seed(self) -> bytes:
        """The secret itself, for the transport, which must prove the same key. Never log it."""
        return self._seed

    def sign(self, kind: str, job: bytes, round_: int, body: bytes) -> bytes:
        """Sign ``body`` as a message of ``kind``.

        Args:
            kind: Kind of message, ASCII without NUL (``record``, ``manifest``, ``commit``).
            job: 32 bytes, or empty for what belongs to no job.
            round_: Round number; 0 outside rounds. Range [0, 2^64).
            body: The exact bytes that are sent.

        Returns:
            64 bytes.
        """
        return self._key.sign(signed_bytes(kind, job, round_, body))

    def nonce(self, job: bytes, round_: int, view: int) -> bytes:
        """What only this node can tell beforehand, and tells alike after every restart.

        Args:
            job: 32 bytes.
            round_: Round number. Range [0, 2^64).
            view: View number. Range [0, 2^32).

        Returns:
            32 bytes: BLAKE3 over the place, keyed with the seed.
        """
        place = b"nonce\0" + job + round_.to_bytes(8, "big") + view.to_bytes(4, "big")
        return blake3(_DOMAIN + place, key=self._seed).digest()


def signed_bytes(kind: str, job: bytes, round_: int, body: bytes) -> bytes:
    """What a signature covers: domain, kind, job, round (u64, big endian), then the exact body."""
    assert "\0" not in kind, kind
    assert len(job) in (0, DIGEST_BYTES), f"a job id has {DIGEST_BYTES} bytes, not {len(job)}"
    head = _DOMAIN + kind.encode() + b"\0" + (job or NO_JOB)
    return head + round_.to_bytes(8, "big") + body


def verify(
    public_key: bytes, kind: str, job: bytes, round_: int, body: bytes, signature: bytes
) -> bool:
    """Whether ``signature`` is that of ``public_key`` on ``body`` in its place.

    Args:
        public_key: 32 bytes (peer input).
        kind: As in ``Identity.sign``; ours.
        job: As in ``Identity.sign``; ours.
        round_: As in ``Identity.sign`` (peer input: False if out of range).
        body: The exact bytes received.
        signature: 64 bytes (peer input).
    """
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    if not 0 <= round_ <= _ROUND_MAX:
        return False
    try:
        _public(public_key).verify(signature, signed_bytes(kind, job, round_, body))
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=_CACHED_KEYS)
def _public(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


@lru_cache(maxsize=_CACHED_KEYS)
def peer_id_of(public_key: bytes) -> PeerId:
    """The libp2p peer id of an Ed25519 public key.

    Raises:
        Malformed: the key does not have 32 bytes.

    Source:
        libp2p specs, peer-ids: base58btc of the identity multihash of the protobuf public key.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise Malformed(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    # The multihash starts with exactly one zero byte, which base58 writes as one leading "1".
    number = int.from_bytes(_MULTIHASH_PREFIX + public_key, "big")
    chars: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        chars.append(_ALPHABET[digit])
    return PeerId("1" + "".join(reversed(chars)))


@lru_cache(maxsize=_CACHED_KEYS)
def public_key_of(peer_id: str) -> bytes:
    """The Ed25519 public key that a peer id holds; 32 bytes.

    Args:
        peer_id: Base58 text (peer input).

    Raises:
        Malformed: it is not the one spelling of the id of an Ed25519 key.
    """
    if len(peer_id) > PEER_ID_CHARS_MAX:
        raise Malformed(f"a peer id has at most {PEER_ID_CHARS_MAX} characters")
    number = 0
    for char in peer_id:
        if char not in _DIGITS:
            raise Malformed(f"{peer_id!r} is not base58")
        number = number * 58 + _DIGITS[char]
    raw = number.to_bytes(PEER_ID_CHARS_MAX, "big")
    public_key = raw[-PUBLIC_KEY_BYTES:]
    if peer_id_of(public_key) != peer_id:
        raise Malformed(f"{peer_id!r} is not the peer id of an Ed25519 key")
    return public_key
