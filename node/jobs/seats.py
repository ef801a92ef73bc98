"""Seats in the electorate: electors keep applications, and who follows a job applies.

Flow. Who may enter is in ``ledger.admission``. docs/protocol.md, "Admission".
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from node.errors import BadSignature, Malformed, PeerError, Refused
from node.identity import Signer, Verifier, public_key_of
from node.jobs.courier import Courier
from node.ledger.admission import work
from node.ledger.chain import Head
from node.merkle import digest
from node.ports import Compute
from node.ranges import Range, Ranges
from node.types import PeerId
from node.wire.admission import (
    KIND,
    Application,
    encode_application,
    encode_signed_application,
)
from node.wire.messages import Signed

APPLY_METHOD = "apply/1"
APPLICANTS_MAX = 64
"""Applications that are kept of one job."""
RANGE_APPLICANTS = 4
"""Of strangers of one narrow address range."""
WORK_AT_ONCE = 1 << 14
"""Nonces that are tried in one go on the maths lane."""
HASH_S = 2e-6
"""Cost of trying one, for the simulator."""


@dataclass
class Applicants:
    """Applications that an elector holds: the newest of each key."""

    verify: Verifier
    ranges: Ranges = field(default_factory=Ranges)
    _held: dict[bytes, Signed] = field(default_factory=dict)
    _from: dict[bytes, tuple[Range, ...]] = field(default_factory=dict)
    """Key -> where its application came from."""

    def take(self, peer: PeerId, signed: Signed, head: Head, seen_at: str = "") -> None:
        """Keep an application that its author sent.

        Args:
            peer: who sent it.
            signed: what.
            head: where the job stands.
            seen_at: multiaddr that its stream comes from; empty: not known.

        Raises:
            Refused: it may not enter now; its author may not know that yet.
            PeerError: another's, not in form, or forged.
        """
        if public_key_of(peer) != signed.signer:
            raise PeerError("an application is sent by who signed it")
        origin = self.ranges.of((seen_at,)) if seen_at else ()
        gone = self._whose_place(signed.signer, origin, head)
        try:
            head.door.check(signed, self.verify)
        except (Malformed, BadSignature):
            raise
        except PeerError as error:
            raise Refused(str(error)) from error
        if gone is not None:
            self._drop(gone)
        self._held[signed.signer], self._from[signed.signer] = signed, origin

    def _drop(self, key: bytes) -> None:
        del self._held[key], self._from[key]

    def _whose_place(self, key: bytes, origin: tuple[Range, ...], head: Head) -> bytes | None:
        """Whom an application takes the place of: a stranger whose turn comes later. None: nobody.

        So a flood of strangers shuts no other one out for good, and one address range sends few.

        Raises:
            Refused: it is the turn of all others before.
        """
        if not self._may_wait(key, head) or (key in self._held and self._from[key] == origin):
            return None
        rivals = [other for other in self._held if other != key and self._may_wait(other, head)]
        full = self.ranges.full(origin, (self._from[other] for other in rivals), RANGE_APPLICANTS)
        if full is not None:
            rivals = [other for other in rivals if full in self._from[other]]
        elif len(self._held) < APPLICANTS_MAX or key in self._held:
            return None
        last = max((key, *rivals), key=head.door.turn)
        if last == key:
            raise Refused(f"too many apply{f' from {full.name}' if full else ''}")
        return last

    def _may_wait(self, key: bytes, head: Head) -> bool:
        """Whether a key has no more right to be held than any other stranger's."""
        return head.door.is_stranger(key) and head.probation.member(key) is None

    def chosen(self, head: Head) -> tuple[Signed, ...]:
        """Those that a list of the next round may seat; what is stale goes."""
        for key, signed in list(self._held.items()):
            try:
                head.door.check_claim(signed)
            except PeerError:
                self._drop(key)
        return head.door.choose(self._held)


@dataclass
class Applying:
    """Asks for a seat, as long as this node follows a job that may admit it."""

    signer: Signer
    compute: Compute
    group: asyncio.TaskGroup
    courier: Courier
    _nonce: int | None = None
    _works: bool = False

    async def ask(self, head: Head, electors: Sequence[PeerId]) -> None:
        """Send an application to all electors, if there is a way in."""
        key, door = self.signer.public_key, head.door
        if key in head.bans or head.electorate.index(key) is not None:
            return
        if door.is_stranger(key) and door.rules.mode == "list":
            return
        if door.is_stranger(key) and door.rules.mode == "work" and self._nonce is None:
            if not self._works:
                self._works = True
                self.group.create_task(self._work(head))
            return
        body = encode_application(Application(head.round, self._nonce or 0))
        signature = self.signer.sign(KIND, head.job, 0, body)
        request = encode_signed_application(Signed(KIND, head.job, 0, key, body, signature))
        await asyncio.gather(
            *(self.courier.ask(peer, APPLY_METHOD, request, 64) for peer in electors)
        )

    async def _work(self, head: Head) -> None:
        """Find the nonce in the background; where to begin follows from the key."""
        key, bits = self.signer.public_key, head.admission.work_bits
        first = int.from_bytes(digest("admission work", key)[:6], "big")
        while self._nonce is None:
            some = partial(work, head.job, key, bits, first, WORK_AT_ONCE)
            self._nonce = await self.compute.maths(some, cost_s=WORK_AT_ONCE * HASH_S)
            first += WORK_AT_ONCE
