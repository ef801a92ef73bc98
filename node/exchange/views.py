"""How long a view lasts: nobody leaves one before a quorum has come to it.

Pure. The clock of a view above 0 starts when HAVEs of a quorum for it, or for later ones, are here.
Waits are each node's own; were a node to go on alone, it would be in a view by itself for ever, and
a quorum that needs it would never meet. Until then the node says where it is, again and again: all
who knew may have restarted. docs/protocol.md, "Timers".

Source:
    Castro and Liskov 1999, "Practical Byzantine fault tolerance", section 4.5.2: a replica waits
    for 2f + 1 view changes before it starts its timer. Differs: HAVEs of later views count too.
"""

from collections.abc import Callable

from node.exchange.core import RoundCore
from node.exchange.effects import StartTimer

VIEW_TIMER = "view"
CALL_TIMER = "call"


class ViewClock:
    """The timers of the current view.

    Args:
        core: of the round.
        reached: number of electors -> the highest view to which so many have come.
    """

    def __init__(self, core: RoundCore, reached: Callable[[int], int]) -> None:
        self._core = core
        self._reached = reached
        self._calls = 0

    def enter(self) -> None:
        """A view begins."""
        self._calls = 0
        self.heard()
        if not self._runs:
            self._start(CALL_TIMER)

    def heard(self) -> None:
        """A HAVE came: if a quorum is in this view now, its clock starts."""
        core = self._core
        view = core.agreement.view
        if self._reached(core.electorate.quorum) >= view and core.once(VIEW_TIMER, view):
            self._calls = 0
            self._start(VIEW_TIMER)

    def call(self) -> None:
        """Still no quorum: say again where we are, with pauses that double."""
        core = self._core
        own = core.slots.get(f"have.{core.agreement.view}")
        if not self._runs:
            if own is not None:
                core.broadcast(own)
            self._calls += 1
            self._start(CALL_TIMER)

    @property
    def _runs(self) -> bool:
        return (VIEW_TIMER, self._core.agreement.view) in self._core.asked

    def _start(self, kind: str) -> None:
        view, deadlines = self._core.agreement.view, self._core.context.deadlines
        delay = deadlines.view_s * (1 + view) * 2.0 ** min(self._calls, 32)
        self._core.effects.append(StartTimer(f"{kind}/{view}", min(delay, deadlines.view_s_max)))
