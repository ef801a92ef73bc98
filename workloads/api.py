"""What a job plug-in implements, and how one is found.

A workload is a class in the entry-point group ``artel.workloads``. A node runs it in a process of
its own and hands it flat float32 vectors; it never sees a peer, a clock or a network.
"""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from workloads.inquiry import Inquires as Inquires
from workloads.inquiry import Inquiry as Inquiry

FloatVector = npt.NDArray[np.float32]

Clock = Callable[[], float]
"""Seconds of a clock that never goes back; its origin means nothing."""

ENTRY_POINT_GROUP = "artel.workloads"


class WorkloadError(ValueError):
    """A workload cannot run with what it was given; the text says what to do."""


@dataclass(frozen=True)
class TrainResult:
    """What one round of local steps gave."""

    update: FloatVector
    """(params before - params after) * steps / steps_done. Shape [d]."""
    steps_done: int
    """Between ceil(steps / 4) and ``steps``."""
    loss: float
    """Mean training loss of the steps done; not finite if the replica diverged."""


class Workload(Protocol):
    """One job's model and data, on one machine.

    It holds a *replica*: a working copy of the parameters on the device, with the inner
    optimiser's state, which lives from round to round. It draws all randomness from its
    arguments and leaves the global generators of torch, numpy and ``random`` alone.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        """Check ``config`` (from a job manifest) and prepare the data.

        Args:
            config: The manifest's ``[workload]`` table. Unknown keys are refused.
            seed: The job's seed, at least 0: decides the first parameters.
            device: "auto", "cpu", "cuda" or "cuda:N".

        Raises:
            WorkloadError: The config or the device cannot work.
        """
        ...

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters, in the order in which the flat vector holds them."""
        ...

    def initial(self) -> FloatVector:
        """The job's first parameters: the same bits on every machine. Shape [d]."""
        ...

    def train(
        self,
        params: FloatVector,
        *,
        round_: int,
        rounds: int,
        data_seed: bytes,
        steps: int,
        deadline_s: float,
        continued: bool,
        clock: Clock,
    ) -> TrainResult:
        """Take local steps and say how far they went.

        Args:
            params: Where the steps start. Shape [d].
            round_: This round, from 1, for the learning-rate schedule.
            rounds: The job's last round.
            data_seed: Step ``k`` draws its data with ``step_rng(data_seed, k)`` and from
                nothing else, so that an auditor can replay it.
            steps: Nominal steps, at least 1.
            deadline_s: Stop after this long, but not before ceil(steps / 4) steps.
            continued: Go on from where the replica stands instead of from ``params``; the
                update is relative to ``params`` all the same.
            clock: Read before the first step and after each one.

        Raises:
            WorkloadError: An argument is out of range.
        """
        ...

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """Metrics of ``params`` by name; the replica stays as it is."""
        ...

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """Write what is worth seeing into ``folder``, each file atomically; the paths written."""
        ...

    def reset(self) -> None:
        """Forget the inner optimiser's state, as after a resync."""
        ...


@dataclass(frozen=True)
class MemoryForm:
    """What the entries of a job's shared memory are like; the same on all its nodes."""

    key_dims: int
    """Coordinates of a key, 1 to 4096."""
    key_type: Literal["int8", "fp16"] = "int8"
    payload_bytes: int = 0
    """Bytes that each entry carries besides key and value, 0 to 1024."""
    entries_per_author: int = 250_000
    """The newest so many of each author are kept. At least 4."""
    inquires: bool = False
    """The workload has an ``Inquiry``: nodes ask one another what they look up."""


@dataclass(frozen=True, eq=False)
class Entries:
    """n entries of a shared memory, in columns. Arrays that came from a peer are read-only."""

    keys: npt.NDArray[Any]
    """Shape [n, d]; int8, or float16 for fp16 keys."""
    values: npt.NDArray[np.float32]
    """Shape [n]; finite."""
    payload: npt.NDArray[np.uint8]
    """Shape [n, p]."""
    key_scale: float = 1.0
    """Real key = key_scale * int8 key; not used for fp16. Rounded to float32."""

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, end: int) -> "Entries":
        """Entries ``start`` to ``end - 1``."""
        cut = slice(start, end)
        return Entries(self.keys[cut], self.values[cut], self.payload[cut], self.key_scale)

    def float_keys(self) -> npt.NDArray[np.float32]:
        """Keys as real numbers. Shape [n, d]."""
        keys = self.keys.astype(np.float32)
        if self.keys.dtype == np.int8:
            keys *= np.float32(self.key_scale)
        return keys


@dataclass(frozen=True)
class Advance:
    """What a workload did in one call of ``advance``."""

    steps: int
    entries: Entries
    """What it shares of it, and of what it held back before; may be empty."""
    waiting: bool = False
    """There is nothing more to do until entries of others arrive."""


@runtime_checkable
class Remembers(Protocol):
    """What a workload has besides ``Workload``'s, if its job shares a memory.

    Such a workload works all the time, in slices, and nobody waits for anybody: what it learned
    leaves as entries, and the entries of others come in between two slices. ``train`` takes steps
    of its own beside that, or only tells what the parameters should become.
    """

    @property
    def memory(self) -> MemoryForm:
        """The form of its entries."""
        ...

    def start(self, data_seed: bytes) -> None:
        """Called once, before the first ``advance``.

        Args:
            data_seed: All draws follow from it; another one on each node and in each of its lives.
        """
        ...

    def advance(self, steps_max: int, deadline_s: float, clock: Clock) -> Advance:
        """Go on from where it stands.

        Args:
            steps_max: At most so many steps, at least 1.
            deadline_s: Stop after this long.
            clock: Read before the first step and after each one.
        """
        ...

    def absorb(self, author: str, entries: Entries) -> None:
        """Take entries in. Their form is the job's and their values are finite; trust them no more.

        Args:
            author: Peer id; empty for what this node itself shared before a restart.
            entries: In the order in which their author made them.
        """
        ...

    def forget(self, author: str) -> None:
        """Drop everything of an author: it contradicted itself."""
        ...


@runtime_checkable
class Sharded(Protocol):
    """What a workload has besides ``Workload``'s, if each node has its own part of the data."""

    def shard(self, index: int, count: int) -> None:
        """Called once, before any parameter is trained or any entry made.

        Args:
            index: This node's part, from 0. A founder's is its place among the founders; others
                take over one of theirs.
            count: Into how many parts the data is divided.
        """
        ...


@runtime_checkable
class Replayable(Protocol):
    """What a workload has besides ``Workload``'s, if others can replay its rounds.

    A round of ``train`` that is not ``continued`` must then follow, bit for bit in one compute
    class, from its arguments, the number of steps and the local state alone.
    """

    def local_state(self) -> bytes:
        """All that the next ``train`` depends on besides its arguments: the inner optimizer.

        Empty before the first step and after ``reset``.
        """
        ...

    def load_local_state(self, data: bytes) -> None:
        """Go on from where ``local_state`` was taken; ``data`` may come from a liar.

        Raises:
            WorkloadError: This is no local state of such a workload; nothing has changed.
        """
        ...


def step_clock() -> Clock:
    """A clock that counts how often it was read: a deadline of k then ends after k steps.

    ``Workload.train`` reads its clock before the first step and after each one.
    """
    return itertools.count().__next__


def step_rng(data_seed: bytes, step: int) -> np.random.Generator:
    """The generator from which step ``step`` of a round draws its data.

    Args:
        data_seed: The round's and peer's seed, 1 to 64 bytes.
        step: From 0.
    """
    digest = hashlib.blake2b(step.to_bytes(8, "big"), key=data_seed, digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def load(name: str) -> type[Workload]:
    """The workload class that an installed package publishes under ``name``.

    Raises:
        WorkloadError: No package does, or its module cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise WorkloadError(
            f"no workload {name!r} is installed here (there is: {known}); install the package "
            f"that publishes it under the entry-point group {ENTRY_POINT_GROUP!r}"
        )
    try:
        return cast(type[Workload], found[name].load())
    except (ImportError, AttributeError) as error:
        raise WorkloadError(
            f"workload {name!r} is installed as {found[name].value} but does not load ({error}); "
            "reinstall the package that publishes it"
        ) from error
