"""When each step of a round was first reached here, and what that teaches about deadlines."""

from dataclasses import dataclass, field

from node.exchange.core import RoundCore
from node.exchange.deadlines import Durations
from node.exchange.reduction import parts_of


@dataclass
class RoundTimes:
    """Of one round; times are the event loop's, in seconds."""

    _at: dict[str, float] = field(default_factory=dict)

    def reached(self, step: str, now: float) -> None:
        """Remember when a step was first reached."""
        self._at.setdefault(step, now)

    def steps(self) -> dict[str, float]:
        """Seconds from the start of the round until each step was first reached here."""
        start = self._at.get("start", 0.0)
        return {name: round(at - start, 3) for name, at in self._at.items() if name != "start"}

    def look(self, core: RoundCore, now: float) -> None:
        """Note when enough was here: all but f, so that f slow peers do not teach long waits."""
        electorate, me = core.electorate, core.context.me
        if len(core.commitments) >= electorate.n - electorate.f:
            self.reached("quorum", now)
        if me is None or "rows" in self._at or not core.lists:
            return
        value = next(reversed(core.lists.values()))
        parts = parts_of(core.orders, me, core.width(value.wide))
        fewest = (len(value.commitments) - 1 - electorate.f) * len(parts)
        if not parts or len(core.parts) < fewest:
            return
        others = [id_ for elector, id_ in value.commitments if elector != me]
        here = sum(all((id_, p) in core.parts for p in parts) for id_ in others)
        if here >= len(others) - electorate.f:
            self._at["rows"] = now

    def durations(self, now: float) -> Durations | None:
        """What a round that was certified in view 0 teaches; None: it was followed from outside."""
        if "scatter" not in self._at:
            return None
        start = self._at["start"]
        return Durations(
            commit_s=self._at.get("quorum", now) - start,
            step_s=self._step_s(),
            round_s=now - start,
        )

    def _step_s(self) -> float | None:
        at = self._at
        if not {"rows", "screening", "screen"} <= at.keys():
            return None
        return at["rows"] - at["scatter"] + at["screen"] - at["screening"]
