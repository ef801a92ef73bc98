"""How long to wait, learned from certified rounds only, within the manifest's bounds.

Pure. A wait is median + k * MAD of what a quorum needed, so up to f slow or malicious peers do not
move it. Rounds that fail teach no duration, only patience: were they ignored, a swarm that has
become slower than its waits would skip for ever. docs/protocol.md, "Timers".

Source:
    hivemind issue 676 (fixed time-outs must be guessed); Jacobson 1988, "Congestion avoidance and
    control", section 2, for mean plus deviation; Castro and Liskov 1999, "Practical Byzantine fault
    tolerance", section 4.5.2, for the doubling. Differs: median and MAD, so that one outlier does
    not count.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

SAMPLES = 32
"""Certified rounds that are remembered."""
DEVIATIONS = 4.0
"""k: deviations above the median."""
SLACK = 1.5
"""Factor on the median: a busy machine is not a dead one."""
COMMIT_SLACK = 4.0
"""Of the median, for all but f to commit: without them there is no quorum, so this may be long."""
FIRST_GRACE_S = 5.0
"""For who is slower than all but f, before anything is known; nodes also start at other times."""
FIRST_STEP_S = 3.0
FIRST_VIEW_S = 15.0
STEP_S_MIN = 0.5
EXCHANGE_STEPS = 4.0
"""Steps that a view has after its commitments: an honest leader may need two for silent reducers
and two more for a wider list. Each one more makes everybody wait longer for a dead leader."""
PATIENCE_UP = 2.0
"""Factor on all waits for each failed round."""
PATIENCE_DOWN = 0.7
"""Factor back for each good one. Below sqrt(1/2), so that f of n >= 3f + 1 leaders who stall do
not drive the waits up: 2^f * 0.7^(2f + 1) < 1."""
PATIENCE_MAX = 64.0


@dataclass(frozen=True)
class Deadlines:
    """Waits of one round, in seconds; derived from certified rounds."""

    commit_s: float
    """From the start of the round until HAVE of view 0."""
    grace_s: float
    """From when all but f commitments are held until HAVE of view 0, if that is sooner."""
    step_s: float
    """For one step of the reduction."""
    view_s: float
    """Timer of view 0; view v waits (1 + v) times as long, up to ``view_s_max``."""
    view_s_max: float


@dataclass(frozen=True)
class Bounds:
    """The manifest's clamps, in seconds."""

    commit_s_min: float
    commit_s_max: float
    view_s_min: float
    view_s_max: float


@dataclass(frozen=True)
class Durations:
    """What one certified round took, in seconds, as seen here."""

    commit_s: float
    """Start of the round until n - f commitments were held."""
    step_s: float | None
    """First list until the parts of all but f listed electors were held, and the time of screening
    them; None where this node reduced nothing. Not until the certificate: that holds this very
    wait whenever a reducer is silent, so that the wait would feed on itself."""
    round_s: float
    """Start of the round until the certificate."""


@dataclass(frozen=True)
class Failed:
    """A round that was skipped, or that needed more than one view."""


@dataclass
class DeadlineEstimator:
    """Turns the last certified rounds into the waits of the next one."""

    bounds: Bounds
    _samples: deque[Durations] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _patience: float = 1.0

    def add(self, closed: Durations | Failed) -> None:
        """Take a round that was closed."""
        if isinstance(closed, Failed):
            self._patience = min(PATIENCE_UP * self._patience, PATIENCE_MAX)
        else:
            self._patience = max(PATIENCE_DOWN * self._patience, 1.0)
            self._samples.append(closed)

    @property
    def commit_usual_s(self) -> float:
        """When all but f have usually committed; 0 before anything is known."""
        return median(s.commit_s for s in self._samples) if self._samples else 0.0

    def deadlines(self) -> Deadlines:
        """Waits for the next round."""
        b, patience = self.bounds, self._patience
        commits = [s.commit_s for s in self._samples]
        usual = self.commit_usual_s
        commit = patience * COMMIT_SLACK * usual if commits else b.commit_s_max
        commit = min(max(commit, b.commit_s_min), b.commit_s_max, b.view_s_max / 2)
        grace = patience * _wait(commits, FIRST_GRACE_S) - usual
        grace = min(max(grace, b.commit_s_min), commit)
        steps = [s.step_s for s in self._samples if s.step_s is not None]
        # Who reduced nothing yet must not wait longer than the others' views last.
        rounds = [s.round_s for s in self._samples]
        step = patience * _wait(steps, min(FIRST_STEP_S, _wait(rounds, FIRST_STEP_S)))
        step = min(max(step, STEP_S_MIN), (b.view_s_max - commit) / EXCHANGE_STEPS)
        view = patience * _wait(rounds, FIRST_VIEW_S)
        # A view must hold the waits that an honest leader may need, or it fails by itself.
        view = max(view, b.view_s_min, min(usual + grace, commit) + EXCHANGE_STEPS * step)
        return Deadlines(commit, grace, step, min(view, b.view_s_max), b.view_s_max)


def _wait(samples: Sequence[float], unknown: float) -> float:
    if not samples:
        return unknown
    middle = median(samples)
    deviation = median(abs(s - middle) for s in samples)
    return SLACK * middle + DEVIATIONS * deviation
