"""Work off the event loop: a job's worker, and the maths lane."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from workloads.api import Entries, MemoryForm

T = TypeVar("T")
FloatVector = npt.NDArray[np.float32]


Shard = tuple[int, int]
"""(index, count): the part of a job's data that a node works on."""
WHOLE: Shard = (0, 1)


@dataclass(frozen=True)
class TrainRequest:
    """What a worker needs for one round of local steps."""

    params: FloatVector
    """Start of the steps. Shape [d]. The worker copies it; the caller may reuse the buffer."""
    round: int
    rounds: int
    """This round's number (from 1) and the job's last, for the learning-rate schedule."""
    data_seed: bytes
    """32 bytes: hash of (last decision, peer). Step ``k`` draws its data by (data_seed, k)."""
    steps: int
    """Nominal local steps, at least 1."""
    deadline_s: float
    """Stop after this many seconds, whatever was done, but not before a quarter of ``steps``."""
    continued: bool = False
    """True after a SKIP: ``params`` are ignored and the worker goes on from where it stands."""
    keep: bool = False
    """Keep the local state from before the round, and tell digests: only of a replayable worker."""


@dataclass(frozen=True)
class TrainReply:
    """What a worker did in one round."""

    update: FloatVector
    """params before - after, divided by ``steps_done / steps``. Shape [d]."""
    steps_done: int
    loss: float
    """Mean training loss of the steps done."""
    seconds: float
    local_before: bytes = b""
    local_after: bytes = b""
    """Digests of the workload's local state; empty where it was not kept."""


@dataclass(frozen=True)
class ReplayRequest:
    """What a worker needs to take another node's local steps again."""

    params: FloatVector
    """Start of the steps. Shape [d]."""
    round: int
    rounds: int
    data_seed: bytes
    """Hash of (last decision, the other peer)."""
    steps: int
    steps_done: int
    """Exactly so many are taken, ceil(steps / 4) to ``steps``."""
    local_state: bytes
    """The other's, from before the round."""
    shard: Shard
    """The other's."""


@dataclass(frozen=True)
class ReplayReply:
    """What came of the steps."""

    update: FloatVector
    """As in ``TrainReply``. Shape [d]."""
    local_after: bytes
    """Digest of the local state after them."""
    seconds: float


LOCAL_STATES_KEPT = 2
"""Rounds whose local state before them a worker keeps: the one in progress and that before it."""


@dataclass(frozen=True)
class Arrived:
    """What a worker must know of one author of its job's shared memory."""

    author: str
    """Peer id; empty for this node's own entries of an earlier life."""
    entries: Entries | None
    """In the author's order; None: drop everything of the author."""


@dataclass(frozen=True)
class AdvanceRequest:
    """One slice of work on a job that shares a memory."""

    arrived: Sequence[Arrived]
    """Taken in before the first step."""
    steps: int
    """At most; 0: only take in what arrived."""
    deadline_s: float
    """Stop after so many seconds of work."""
    data_seed: bytes
    """Seeds the worker's draws at its first step; ignored later."""


@dataclass(frozen=True)
class AdvanceReply:
    """What a worker did in one slice."""

    steps: int
    entries: Entries
    """To be shared; may be empty."""
    seconds: float
    waiting: bool = False
    """There is nothing more to do until something arrives."""


@dataclass(frozen=True)
class InquireRequest:
    """What passes between a worker's inquiry and those of other nodes: one of three things."""

    own: str = ""
    founders: Sequence[str] = ()
    """Given once, first: this node, and who takes part. Answered with nothing."""
    question: bytes = b""
    """Another node's; the reply is the answer, empty if it is no question."""
    answers: Sequence[bytes] = ()
    """Those to the worker's last question. The reply is the next one, empty if there is none."""


class Worker(Protocol):
    """One job's workload in its own process. Raises WorkerFailed from any call once it is dead."""

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters, in the order in which the flat vector holds them."""
        ...

    @property
    def memory(self) -> MemoryForm | None:
        """Form of the entries that the job shares; None: it shares no memory."""
        ...

    @property
    def replayable(self) -> bool:
        """Whether the workload can replay rounds, wherever it runs."""
        ...

    @property
    def compute_class(self) -> bytes:
        """32 bytes: workers of one class compute the same bits. Empty: not known to."""
        ...

    async def initial(self) -> FloatVector:
        """The job's first parameters: the same bits on every machine. Shape [d]."""
        ...

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """One slice of a job that shares a memory."""
        ...

    async def inquire(self, request: InquireRequest) -> bytes:
        """Ask or answer other nodes: only of a worker whose memory inquires."""
        ...

    async def train(self, request: TrainRequest) -> TrainReply:
        """Local steps."""
        ...

    async def opening(self, round_: int) -> bytes | None:
        """The local state from before one of the last rounds; None: it was not kept."""
        ...

    async def revert(self, round_: int) -> None:
        """Return to the local state from before ``round_``, if it was kept."""
        ...

    async def replay(self, request: ReplayRequest) -> ReplayReply | None:
        """Take another node's local steps; the own replica stays as it is.

        None: the workload refuses the local state.
        """
        ...

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """Metrics of ``params``, by name (``loss``, ``psnr_db``)."""
        ...

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """Write what is worth seeing into ``folder``; paths written."""
        ...

    async def reset(self) -> None:
        """Forget the inner optimiser's state: the next round starts from another model."""
        ...

    async def close(self) -> None:
        """End the process; idempotent."""
        ...


class Compute(Protocol):
    """Work above 5 ms, off the event loop, in two lanes: ``maths`` and workers."""

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """Run a pure function in the maths thread; ``cost_s`` is charged in simulation."""
        ...

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        """Start a job's worker, on one shard of the job's data if its workload divides it.

        Raises:
            ConfigError: no such workload, or its config is refused.
            WorkerFailed: it died while starting.
        """
        ...
