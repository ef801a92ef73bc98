"""Which electors nobody waits for at a round's start: they are away, and were not heard of.

Pure. A node that comes back is heard of before the others have seen a commitment of it in time, and
from then on they wait for it, as long as for anybody. docs/protocol.md, "Timers".
"""

from dataclasses import dataclass, field

from node.ledger.electorate import Electorate
from node.types import PeerId


@dataclass
class Silence:
    """When each elector was last heard of."""

    own: PeerId
    _heard: dict[PeerId, int] = field(default_factory=dict)
    """Elector -> the round in which its last message came; bounded by who was an elector."""

    def heard(self, peer: PeerId, round_: int) -> None:
        """A message of an elector came while the job was in ``round_``."""
        self._heard[peer] = round_

    def quiet(self, electorate: Electorate, round_: int) -> frozenset[int]:
        """Electors that are away and said nothing since ``round_ - 1`` began."""
        ids = electorate.ids
        return frozenset(
            e
            for e in electorate.away
            if ids[e] != self.own and self._heard.get(ids[e], -1) < round_ - 1
        )
