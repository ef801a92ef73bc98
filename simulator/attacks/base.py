"""What all attacks share: an honest node to start from, a scale that means something, and helpers.

An attacker signs whatever it wants as itself, knows the other attackers of its world, and sees the
honest updates of a round before it chooses its own (``board``).
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from node.errors import ConfigError
from node.identity import public_key_of
from node.jobs.honest import Honest
from node.ports import FloatVector, Ports, Sign
from node.types import PeerId
from node.wire.convert import decode_round, encode_round
from node.wire.messages import Signed
from simulator.attacks.board import Board, Crowd

HISTORY = 8
"""Own honest updates from which a lone attacker guesses what the others send."""
PEERS_MAX = 256
"""Peers that an attacker remembers."""


class Attack(Honest):
    """Honest in everything that an attack does not override.

    Args:
        scale: Strength, finite and at least 0; attacks without a strength ignore it.
        seed: Decides all randomness.

    Raises:
        ConfigError: no such scale.
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        if not (math.isfinite(scale) and scale >= 0):
            name = type(self).__name__
            raise ConfigError(
                f"the scale of the attack {name} is {scale}: choose a finite number of at least 0"
            )
        self.scale = scale
        self.seed = seed
        self.board: Board | None = None
        """What the attackers of one world share; None for one that is alone in its process."""
        self.own = PeerId("")
        """Our id, once a daemon was built around this."""
        self.met: set[PeerId] = set()
        """Electors that round messages went to."""
        self._sign: Sign | None = None
        self._history: list[FloatVector] = []

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The ports themselves; remembers who we are and how we sign."""
        self.own = ports.transport.peer_id
        self._sign = sign
        return ports

    def sends(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """What ``alters`` makes of it; remembers to whom."""
        if len(self.met) < PEERS_MAX:
            self.met.add(to)
        return self.alters(round_, to, kind, message)

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """The message itself; for attacks to override."""
        return message

    # For attacks -------------------------------------------------------------------------------

    @property
    def electors(self) -> list[PeerId]:
        """Electors known from the messages sent to them, ourselves included: by index."""
        return sorted({*self.met, self.own})

    @property
    def accomplices(self) -> list[int]:
        """Indices of all attackers that we know of, ourselves included, rising."""
        liars = self.board.liars if self.board else ()
        return [e for e, peer in enumerate(self.electors) if peer == self.own or peer in liars]

    def rng(self, *path: int) -> np.random.Generator:
        """Randomness of one purpose, the same at all attackers with this seed."""
        return np.random.default_rng([self.seed, *path])

    def own_rng(self, *path: int) -> np.random.Generator:
        """Randomness of one purpose, another at each attacker."""
        key = int.from_bytes(public_key_of(self.own)[:8], "big")
        return np.random.default_rng([self.seed, key, *path])

    async def crowd(self, round_: int, update: FloatVector) -> Crowd:
        """The honest updates of the round; alone, one's own last ones stand for them."""
        self._history = [*self._history[-HISTORY + 1 :], update]
        if self.board is not None:
            seen = await self.board.crowd(round_)
            if seen is not None:
                return seen
        return Crowd(np.stack(self._history).astype(np.float64), 1)

    def forge(self, message: bytes, change: Callable[[Signed], bytes], kind: str = "") -> bytes:
        """A round message with another signed body, under a signature that verifies.

        Args:
            message: a "round/1" request that carries one signed message of ours.
            change: the signed message -> the body that is signed in its place.
            kind: of what is signed; empty: that of the message.
        """
        envelope = decode_round(message)
        signed = envelope.body
        assert isinstance(signed, Signed)
        return encode_round(replace(envelope, body=self.signed(signed, change(signed), kind)))

    def signed(self, place: Signed, body: bytes, kind: str = "") -> Signed:
        """``body``, signed by us in the place of ``place``."""
        assert self._sign is not None, "no daemon was built around this attack"
        kind = kind or place.kind
        signature = self._sign(kind, place.job, place.round, body)
        return replace(place, kind=kind, body=body, signature=signature)
