"""Finds contradictions: what each elector signed in each slot of a round, as far as it came here.

Pure; part of ``RoundMachine``. Every message whose signature holds is shown to it, those inside
lists, plans, proposals and certificates too. docs/protocol.md, "Evidence".
"""

from collections import Counter

from node.errors import PeerError
from node.ledger.evidence import Slot, contradiction, slot_of
from node.wire.limits import EVIDENCE_BYTES_MAX
from node.wire.messages import Contradiction, Signed

SLOTS_PER_ELECTOR_MAX = 256
"""An honest elector fills about ten a view; 128 messages of it are taken in a round."""
BYTES_PER_ELECTOR_MAX = 2 << 20
"""Bodies that are remembered of one elector."""


class Watch:
    """The first message of each slot of one round. What is above a limit is not watched."""

    def __init__(self) -> None:
        self._only: dict[tuple[int, str], Signed] = {}
        """(Elector, kind) -> its first message, not opened: most rounds see no other."""
        self._seen: dict[int, dict[Slot, Signed]] = {}
        self._bytes: Counter[int] = Counter()

    def see(self, elector: int, signed: Signed) -> Contradiction | None:
        """The evidence that a message gives together with an earlier one, if any.

        Args:
            elector: who signed it.
            signed: its signature was checked.
        """
        if len(signed.body) > EVIDENCE_BYTES_MAX:
            return None
        first = self._only.setdefault((elector, signed.kind), signed)
        if first.body == signed.body:
            return None
        self._enter(elector, first)
        held = self._enter(elector, signed)
        if held is None or held.body == signed.body:
            return None
        return contradiction(held, signed)

    def _enter(self, elector: int, signed: Signed) -> Signed | None:
        """What holds the slot of a message from now on; None: it has none, or is not watched."""
        try:
            slot = slot_of(signed)
        except PeerError:
            return None  # not a message of its kind: refused for that, and no evidence
        seen, size = self._seen.setdefault(elector, {}), len(signed.body)
        if slot not in seen:
            full = len(seen) >= SLOTS_PER_ELECTOR_MAX
            full = full or self._bytes[elector] + size > BYTES_PER_ELECTOR_MAX
            if full and signed.kind != "commit":  # there is one: no flood of others hides it
                return None
            seen[slot] = signed
            self._bytes[elector] += size
        return seen[slot]
