"""Messages that came before their round began here: few, small in all, one peer's share each."""

from dataclasses import dataclass, field

from node.identity import public_key_of
from node.ledger.electorate import Electorate
from node.types import Digest, PeerId
from node.wire.messages import RoundBody, RoundMessage

MESSAGES_PER_ELECTOR_MAX = 16
BYTES_PER_ELECTOR_MAX = 16 << 20
ROUNDS_AHEAD_MAX = 1
"""Only the round in progress and the one after it are kept."""


@dataclass
class Mailbox:
    """Early messages by peer: an elector's index may be another one in the next round."""

    _held: dict[PeerId, list[tuple[RoundMessage, int]]] = field(default_factory=dict)

    def put(self, peer: PeerId, message: RoundMessage, size: int) -> None:
        """Keep an elector's message until ``take``; the oldest round of that elector makes room.

        Above its share a message is lost, as on a bad link: an honest peer of a node
        that is far behind sends many, and the node will ask for what it needs.
        """
        held = self._held.setdefault(peer, [])
        newest = max([message.round, *(m.round for m, _ in held)])
        held[:] = [(m, s) for m, s in held if m.round >= newest - ROUNDS_AHEAD_MAX]
        full = sum(s for _, s in held) + size > BYTES_PER_ELECTOR_MAX
        if not full and len(held) < MESSAGES_PER_ELECTOR_MAX:
            held.append((message, size))

    def take(
        self, round_: int, prev: Digest, electorate: Electorate
    ) -> list[tuple[int, RoundBody]]:
        """Messages of ``round_`` on our chain, by elector; earlier ones are forgotten.

        Whoever was an elector when it sent them, but is no longer, has said nothing.
        """
        taken: list[tuple[int, RoundBody]] = []
        for peer, held in sorted(self._held.items()):
            elector = electorate.index(public_key_of(peer))
            if elector is not None:
                ours = [m for m, _ in held if m.round == round_ and m.prev == prev]
                taken += [(elector, message.body) for message in ours]
            held[:] = [(m, s) for m, s in held if m.round > round_]
        return taken
