"""Rounds go on while a quorum can talk; after the last fault everybody goes on soon."""

from collections import deque
from collections.abc import Mapping

from simulator.invariants.base import Check, Facts, Moved

DEATHS = ("crash", "late", "leave", "lose_slots", "lose_disk", "churn", "clock")
"""Faults that take nodes away but no links: who is alive can talk."""
SAMPLES = 32
"""Rounds from which a node learns its waits (docs/protocol.md, "Timers")."""
CALM_ROUNDS = 12
"""Good rounds after which patience is down again: 64 * 0.7^12 < 1."""
COMMIT_SLACK = 4.2
"""The wait for commitments is at most 4 medians."""


class Progress(Check):
    """A quorum that is alive and connected goes on; every honest node recovers and finishes."""

    name = "progress"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        scenario = facts.world.scenario
        self.recovery_s: float | None = None
        self._limit_s = scenario.expect.recovery_s_max
        self._cuts = any(f.kind not in DEATHS for f in scenario.faults)
        self._healed = not scenario.faults
        self._able_since: float | None = None
        """Since when a quorum can talk; None: it cannot."""
        self._fault_s: float | None = None
        self._waiting: set[int] = set()
        """Honest nodes without a new round since the last fault ended."""
        self._newest = 0

    def life(self, at_s: float, node: int, what: str) -> None:
        """Count who is alive."""
        self._count(at_s)

    def fault(self, at_s: float, what: str) -> None:
        """The clock of recovery starts anew at each fault's beginning or end."""
        self._healed = self._healed or what == "healed"
        self._fault_s = at_s
        self.recovery_s = None
        self._waiting = {n.index for n in self.facts.world.honest if not self._is_done(n.index)}
        self._able_since = None
        self._count(at_s)

    def _count(self, at_s: float) -> None:
        roll = self.facts.roll(self._newest + 1)
        alive = [
            n for n in roll.electors
            if n.daemon is not None and self.facts.is_honest(n.index) and not n.store.slots_lost
        ]  # fmt: skip
        able = len(alive) >= roll.quorum and (self._healed or not self._cuts)
        self._able_since = (self._able_since or at_s) if able else None

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Nodes enter views again and again: time to look at the clock."""
        since = self._able_since
        if since is None or at_s - since <= self._limit_s:
            return
        if self._newest < self.facts.world.scenario.rounds:
            text = (
                f"a quorum is alive since {since:.1f} s, and round {self._newest + 1} does not end"
            )
            self.fail(at_s, text)
            self._able_since = at_s

    def moved(self, moved: Moved) -> None:
        """Somebody went on."""
        if moved.head.round > self._newest:
            self._newest = moved.head.round
            if self._able_since is not None:
                self._able_since = moved.at_s
        if moved.node in self._waiting and moved.head.round > moved.before:
            self._waiting.discard(moved.node)
            assert self._fault_s is not None
            self.recovery_s = moved.at_s - self._fault_s
            if self.recovery_s > self._limit_s:
                text = f"node-{moved.node} needs {self.recovery_s:.1f} s after the last fault"
                self.fail(moved.at_s, text, "recovery")

    def finish(self, at_s: float) -> None:
        """What the scenario expects."""
        expect = self.facts.world.scenario.expect
        for node in self.facts.world.honest:
            runner = self.facts.runner(node.index)
            if runner is None:
                if expect.finish:
                    text = "does not know the job" if node.daemon else "does not run"
                    self.fail(at_s, f"{node.name} {text}", "finish")
                continue
            shown, head = runner.progress, runner.head
            if expect.finish and shown.state != "done":
                text = f"{node.name} is {shown.state or 'not running'} in round {head.round + 1}"
                self.fail(at_s, f"{text} ({shown.reason})", "finish")
            if head.round - head.skips < expect.rounds_min:
                text = f"{node.name} certified {head.round - head.skips} rounds with a result, "
                self.fail(at_s, f"{text}{expect.rounds_min} expected", "rounds_min")
            loss = shown.metrics.get("loss")
            if expect.loss_max is not None and loss is not None and not loss <= expect.loss_max:
                self.fail(at_s, f"{node.name} ends at loss {loss:.4g} > {expect.loss_max}", "loss")
            if node.index in self._waiting and not self._is_done(node.index):
                self.recovery_s = None
                since = at_s - (self._fault_s or 0.0)
                if since > self._limit_s:
                    text = f"{node.name} has no new round {since:.1f} s after the last fault"
                    self.fail(at_s, text, "recovery")

    def _is_done(self, node: int) -> bool:
        runner = self.facts.runner(node)
        return runner is not None and runner.head.round >= self.facts.world.scenario.rounds


class Adaptive(Check):
    """After calm rounds the wait for commitments is a few of their durations, not the first guess.

    Only upper bounds: from outside it is seen how long rounds took, not what a node waited for.
    """

    name = "deadlines_adapt"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._spans: dict[int, deque[float]] = {}
        self._calm: dict[int, int] = {}
        self._began: dict[int, float] = {}
        """Node -> when its last round ended, or its life began: its round is not older."""
        self._listed: dict[int, int] = {}
        """Node -> the newest round of which it accepted a list."""

    def life(self, at_s: float, node: int, what: str) -> None:
        """A new life knows nothing."""
        self._spans.pop(node, None)
        self._calm.pop(node, None)
        self._began[node] = at_s

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """A round without a list teaches nothing."""
        if phase == "scatter":
            self._listed[node] = round_

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """A round ended: compare the waits of the next one with what rounds took."""
        if event == "caught_up":
            self._began[node] = at_s
        if event != "round_certified":
            return
        began, self._began[node] = self._began.get(node, 0.0), at_s
        if fields["view"] or fields["skip"]:
            self._calm[node] = 0
        elif self._listed.get(node) == fields["round"]:
            self._calm[node] = self._calm.get(node, 0) + 1
            spans = self._spans.setdefault(node, deque(maxlen=SAMPLES))
            spans.append(at_s - began)
            if self._calm[node] >= CALM_ROUNDS:
                self._check(at_s, node, max(spans))

    def _check(self, at_s: float, node: int, longest_s: float) -> None:
        runner = self.facts.runner(node)
        if runner is None:
            return
        wait_s = runner._deadlines.deadlines().commit_s
        least = max(runner.manifest.round.commit_s_min, COMMIT_SLACK * longest_s)
        if wait_s > least:
            text = (
                f"node-{node} waits {wait_s:.2f} s for commitments after {CALM_ROUNDS} rounds of "
            )
            self.fail(at_s, f"{text}at most {longest_s:.2f} s")
