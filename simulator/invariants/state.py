"""The state: equal heads have equal bits, the root is that of the real arrays, each step is right.

Source: docs/protocol.md, "State". Root and outer step are computed again here, by other code.
"""

import struct
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from node.merkle import digest, leaf, root
from node.state.outer import OuterState
from node.types import Digest, PeerId
from simulator.invariants.base import Check, Facts, Moved
from simulator.invariants.taps import Applied

if TYPE_CHECKING:
    import numpy.typing as npt

    from node.jobs.geometry import Geometry

STATES_KEPT = 8
RELATIVE = 1e-5
"""A few float32 roundings of what enters a coordinate."""
LARGEST = float(np.finfo(np.float32).max)
CHUNK_BYTES = 256 * 1024


class OneState(Check):
    """Equal roots hold equal arrays; a round's state follows from the one before, once."""

    name = "one_state"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._states: dict[Digest, OuterState] = {}
        """Root -> the arrays that the first node held under it; their root was recomputed."""
        self._stepped: set[Digest] = set()

    def moved(self, moved: Moved) -> None:
        """Compare the state with the certificate, the others and the step."""
        replica, decision = moved.runner.replica, moved.decision
        if replica is None or moved.head.state_root != replica.root:
            return  # it knows that it lacks the state, and fetches it
        who = f"node-{moved.node} after round {moved.head.round}"
        if decision is not None and decision.state_root != replica.root:
            self.fail(moved.at_s, f"{who} holds another root than the one certified")
        state = replica.state
        known = self._states.get(replica.root)
        if known is None:
            self._check_root(moved, state, replica.g, who)
        elif not _equal(known, state):
            self.fail(moved.at_s, f"{who} has other bits than others under the same root")
        if decision is not None and moved.head.id not in self._stepped:
            self._stepped.add(moved.head.id)
            applied = self.facts.taps.applied.get(moved.head.id)
            if decision.skip:
                self._check_skip(moved, decision.state_root)
            elif applied is not None:
                self._check_step(moved, applied, state)

    def _check_root(self, moved: Moved, state: OuterState, g: "Geometry", who: str) -> None:
        assert moved.head.state_root is not None
        if root_of(state, g) != moved.head.state_root:
            self.fail(moved.at_s, f"{who}: the root is not that of its arrays", "state_root")
        if not all(np.isfinite(part).all() for part in (state.params, state.momentum)
                   if part is not None):  # fmt: skip
            self.fail(moved.at_s, f"{who}: the state is not finite")
        self._states[moved.head.state_root] = state
        while len(self._states) > STATES_KEPT:
            del self._states[next(iter(self._states))]

    def _check_skip(self, moved: Moved, state_root: Digest) -> None:
        before = self.facts.decisions.get(self.facts.chain.get(moved.head.round - 1, Digest(b"")))
        if before is not None and before.state_root != state_root:
            self.fail(moved.at_s, f"the SKIP of round {moved.head.round} changes the state")

    def _check_step(self, moved: Moved, applied: Applied, state: OuterState) -> None:
        g, round_ = applied.g, moved.head.round
        for part, (name, data) in enumerate(applied.results):
            if leaf("result", g.job, round_, PeerId(""), part, data) != name:
                self.fail(moved.at_s, f"result {part} of round {round_} is not that of its root")
        manifest = moved.runner.manifest
        outer = manifest.outer
        update = decoded(applied)
        expected = step(applied.before, update, outer.lr, outer.momentum, outer.nesterov)
        room = RELATIVE * (
            np.abs(applied.before.params) + outer.lr * (1 + outer.momentum) * np.abs(update)
        )
        if applied.before.momentum is not None:
            room = room + RELATIVE * outer.lr * np.abs(applied.before.momentum)
        error = np.abs(expected.params - state.params) - room
        if error.max() > 0:
            worst = int(np.argmax(error))
            text = f"round {round_} leads to {state.params[worst]!r} at coordinate {worst}, "
            self.fail(moved.at_s, f"{text}its results to {expected.params[worst]!r}", "one_step")
        if expected.momentum is not None and (
            state.momentum is None
            or not np.allclose(
                expected.momentum, state.momentum, rtol=1e-4, atol=1e-4 * _top(update)
            )
        ):
            self.fail(moved.at_s, f"round {round_}: the outer momentum is wrong", "one_step")


def _top(x: "npt.NDArray[np.float64]") -> float:
    return float(np.abs(x).max(initial=0.0))


def _equal(a: OuterState, b: OuterState) -> bool:
    if a is b:
        return True
    if (a.momentum is None) != (b.momentum is None) or not np.array_equal(a.params, b.params):
        return False
    return a.momentum is None or b.momentum is None or np.array_equal(a.momentum, b.momentum)


def decoded(applied: Applied) -> "npt.NDArray[np.float64]":
    """The aggregate that a round's results encode. Shape [d]."""
    g = applied.g
    parts = [
        g.result_codec.decode(data, size)
        for (_, data), size in zip(applied.results, g.part_sizes, strict=True)
    ]
    return np.concatenate(parts).astype(np.float64)


def step(
    before: OuterState,
    update: "npt.NDArray[np.float64]",
    lr: float,
    momentum: float,
    nesterov: bool,
) -> OuterState:
    """The outer step in float64: SGD with (Nesterov) momentum on ``update``. Shape [d]."""
    direction, velocity = update, None
    if before.momentum is not None:
        velocity = np.clip(
            momentum * before.momentum.astype(np.float64) + update, -LARGEST, LARGEST
        )
        direction = update + momentum * velocity if nesterov else velocity
    params = before.params - lr * np.clip(direction, -LARGEST, LARGEST)
    return OuterState(np.clip(params, -LARGEST, LARGEST), velocity)  # type: ignore[arg-type]


def root_of(state: OuterState, g: "Geometry") -> Digest:
    """Merkle root of a state's chunks: header, parameters, momentum, little-endian."""
    sections = [s for s in (state.params, state.momentum) if s is not None]
    header = b"artel-state-1\n" + struct.pack("<BQI", len(sections) - 1, g.d, len(g.shapes))
    for name, shape in g.shapes:
        text = name.encode()
        header += struct.pack("<H", len(text)) + text + struct.pack("<B", len(shape))
        header += b"".join(struct.pack("<Q", size) for size in shape)
    raw = [s.astype("<f4").tobytes() for s in sections]
    cut = ([r[k : k + CHUNK_BYTES] for k in range(0, len(r), CHUNK_BYTES)] for r in raw)
    return root([digest("state chunk", c) for c in chain([header], *cut)])
