"""Messages that came before their round began here: few, small in all, one elector's share each."""

from dataclasses import dataclass, field

from node.types import Digest
from node.wire.messages import RoundBody, RoundMessage

MESSAGES_PER_ELECTOR_MAX = 16
BYTES_PER_ELECTOR_MAX = 16 << 20
ROUNDS_AHEAD_MAX = 1
"""Only the round in progress and the one after it are kept."""


@dataclass
class Mailbox:
    """Early messages by elector."""

    _held: dict[int, list[tuple[RoundMessage, int]]] = field(default_factory=dict)

    def put(self, elector: int, message: RoundMessage, size: int) -> None:
        """Keep a message until ``take``; the oldest round of that elector makes room.

        Above the elector's share a message is lost, as on a bad link: an honest peer of a node
        that is far behind sends many, and the node will ask for what it needs.
        """
        held = self._held.setdefault(elector, [])
        newest = max([message.round, *(m.round for m, _ in held)])
        held[:] = [(m, s) for m, s in held if m.round >= newest - ROUNDS_AHEAD_MAX]
        full = sum(s for _, s in held) + size > BYTES_PER_ELECTOR_MAX
        if not full and len(held) < MESSAGES_PER_ELECTOR_MAX:
            held.append((message, size))

    def take(self, round_: int, prev: Digest) -> list[tuple[int, RoundBody]]:
        """Messages of ``round_`` on our chain, by elector; earlier ones are forgotten."""
        taken: list[tuple[int, RoundBody]] = []
        for elector, held in sorted(self._held.items()):
            taken += [(elector, m.body) for m, _ in held if m.round == round_ and m.prev == prev]
            held[:] = [(m, s) for m, s in held if m.round > round_]
        return taken
