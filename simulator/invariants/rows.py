"""Rows at a reducer: what arrived in time is not missed, and what is used was committed to."""

from functools import lru_cache

from google.protobuf.message import DecodeError

from node.errors import PeerError
from node.merkle import leaf
from node.types import PeerId
from node.wire import exchange_pb2 as pb
from node.wire.convert import decode_screens
from simulator.invariants.base import Check, Facts, Heard

MARGIN_S = 0.5
"""Between the start of a screening and its answer, besides compute and disk."""


@lru_cache(maxsize=1024)  # most messages leave for everybody
def _scattered(data: bytes) -> pb.RoundMessage | None:
    """A message that carries parts; None for any other."""
    try:
        m = pb.RoundMessage.FromString(data)
    except DecodeError:
        return None
    return m if m.WhichOneof("body") == "scatter" else None


class RowsReach(Check):
    """Honest reducers complain ``missing`` only of honest parts that had not arrived."""

    name = "rows_reach"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._arrived: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
        """(round, reducer's node) -> (contributor, part) -> first arrival in the round."""

    def life(self, at_s: float, node: int, what: str) -> None:
        """What arrived in an earlier life is gone."""
        self._arrived = {k: v for k, v in self._arrived.items() if k[1] != node}

    def arrived(
        self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        """Note parts of honest contributors that arrive in their round."""
        author, reducer = (self.facts.nodes_by_peer.get(p) for p in (source, target))
        if author is None or reducer is None or not self.facts.is_honest(author.index):
            return
        m = _scattered(data)
        if m is None:
            return
        elector = self.facts.roll(m.round).elector_of.get(author.index)
        runner = self.facts.runner(reducer.index)
        if elector is None or runner is None:
            return
        if runner.flow is None or runner.round_now != m.round or runner.head.id != m.prev:
            return
        known = self._arrived.setdefault((m.round, reducer.index), {})
        for part in m.scatter.parts:
            known.setdefault((elector, part.part), at_s)

    def heard(self, message: Heard) -> None:
        """Check the complaints of an honest reducer."""
        signed = message.signed
        if signed is None or signed.kind != "screen" or not self.facts.is_honest(message.sender):
            return
        known = self._arrived.get((signed.round, message.sender))
        if not known:
            return
        try:
            screens = decode_screens(signed.body).screens
        except PeerError as error:
            self.fail(message.at_s, f"node-{message.sender} sends a screen that is none: {error}")
            return
        reducer = self.facts.world.nodes[message.sender]
        due = message.at_s - MARGIN_S - 20 * reducer.store.fsync_s
        for screen in screens:
            for elector, why in screen.complaints:
                came = known.get((elector, screen.part))
                if why == "missing" and came is not None and came < due:
                    text = f"node-{message.sender} misses part {screen.part} of elector {elector} "
                    self.fail(
                        message.at_s, f"{text}in round {signed.round}, which came at {came:.3f} s"
                    )

    def forget(self, before_round: int) -> None:
        """Old rounds."""
        self._arrived = {k: v for k, v in self._arrived.items() if k[0] >= before_round}


class CommittedRows(Check):
    """What an honest reducer combines is what its author committed to."""

    name = "committed_rows"

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Hash the liars' rows that a reducer is about to combine."""
        if phase != "reduce" or not self.facts.liars(round_) or not self.facts.is_honest(node):
            return
        runner = self.facts.runner(node)
        if runner is None or runner.flow is None or runner.flow.context.round != round_:
            return
        core = runner.flow.machine.core
        state = next(reversed(core.plans.values()))
        ids = dict(state.listed)
        for elector in state.resolution.contributors:
            author = self.facts.roll(round_).electors[elector]
            commitment = core.opened.get(ids[elector])
            if self.facts.is_honest(author.index) or commitment is None:
                continue
            for part, bound in enumerate(commitment.parts):
                data = core.parts.get((ids[elector], part))
                if data is None or node not in self._reducers(
                    round_, state.resolution.reducers[part]
                ):
                    continue
                if leaf("update", runner.job, round_, author.peer, part, data) != bound.leaf:
                    text = f"node-{node} combines part {part} of {author.name} in round {round_}, "
                    self.fail(at_s, f"{text}which is not the one committed to")

    def _reducers(self, round_: int, electors: tuple[int, ...]) -> set[int]:
        roll = self.facts.roll(round_)
        return {roll.electors[e].index for e in electors}


class SameResults(Check):
    """Honest reducers of one part of one plan compute the same bits."""

    name = "same_results"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._roots: dict[tuple[bytes, int], tuple[int, bytes, int]] = {}
        """(plan, part) -> (node, root, round) of the honest reducer that signed first."""

    def heard(self, message: Heard) -> None:
        """Compare signed roots."""
        signed = message.signed
        if signed is None or signed.kind != "result" or not self.facts.is_honest(message.sender):
            return
        results = pb.Results.FromString(signed.body)
        for result in results.results:
            own = (message.sender, result.root, signed.round)
            other, root, _ = self._roots.setdefault((results.plan_id, result.part), own)
            if root != result.root:
                text = f"node-{other} and node-{message.sender} have different results of part "
                self.fail(message.at_s, f"{text}{result.part} in round {signed.round}")

    def forget(self, before_round: int) -> None:
        """Old rounds."""
        self._roots = {k: v for k, v in self._roots.items() if v[2] >= before_round}
