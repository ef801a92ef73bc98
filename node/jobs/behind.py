"""Finds out that this node is behind: peers say where they are, certificates prove it.

Flow. A claim to be ahead costs nothing, so no round waits for its proof.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.identity import public_key_of
from node.jobs.courier import ASK_S_MAX
from node.jobs.round_flow import RoundFlow
from node.jobs.sync import Catcher
from node.ledger.chain import Head
from node.types import PeerId

BEHIND_S = 0.25
"""How long a certificate may be on its way before it is asked for."""


@dataclass
class Behind:
    """What is claimed and what is proven of one job."""

    head: Callable[[], Head]
    """Where the job stands here."""
    proven_by: PeerId | None = None
    """Who proved that we are more than one round behind."""
    _claim: tuple[int, PeerId] | None = None
    """The highest round that a peer says it is in, while that is beyond ours."""
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, peer: PeerId, round_: int) -> None:
        """A peer says that it is in ``round_``; if that is ahead of us, look for the proof."""
        now = self.head().round + 1
        if round_ > now and (self._claim is None or round_ > self._claim[0]):
            self._claim = (round_, peer)
            self._event.set()

    async def watch(self, flow: RoundFlow, catcher: Catcher, others: Sequence[PeerId]) -> None:
        """While a round runs: if peers are beyond it, give it its certificate."""
        while True:
            await self._event.wait()
            self._event.clear()
            await asyncio.sleep(BEHIND_S)
            if self._claim is None:
                continue
            head = self.head()
            peer, certificates = await catcher.first_proof(
                head, [self._claim[1], *others], late_s=ASK_S_MAX
            )
            self._claim = None
            index = head.electorate.index(public_key_of(peer)) if peer else None
            if certificates and index is not None:
                self.proven_by = peer if len(certificates) > 1 else None
                flow.take(index, certificates[0])
                return
