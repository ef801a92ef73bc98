"""What both sides of ``bench_round`` share: a measurement, and what its processes used."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PEERS = 8
END_S = 5.0


@dataclass(frozen=True)
class Usage:
    """What some processes have used since they started."""

    cpu_s: Mapping[str, float]
    """User and system seconds by name of program; ``python`` or ``p2pd``."""
    moved_bytes: int
    """Written by all p2pd: each byte of the network once by its sender and once by its receiver,
    who hands it to Python."""

    def since(self, before: "Usage") -> "Usage":
        """What was used after ``before`` was read."""
        cpu_s = {name: s - before.cpu_s.get(name, 0.0) for name, s in self.cpu_s.items()}
        return Usage(cpu_s, self.moved_bytes - before.moved_bytes)


def usage_of(family: Sequence[psutil.Process]) -> Usage:
    """CPU and bytes of ``family``; one that has ended counts nothing."""
    cpu_s = {"python": 0.0, "p2pd": 0.0}
    moved_bytes = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            name = "p2pd" if process.name() == "p2pd" else "python"
            cpu_s[name] += times.user + times.system
            if name == "p2pd":
                moved_bytes += _written(process.pid)
    return Usage(cpu_s, moved_bytes)


def _written(pid: int) -> int:
    """Bytes that a process gave to write(2), sockets included; 0 where the kernel hides it."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


@dataclass
class Measurement:
    """One side at one size."""

    side: str
    params: int
    seconds: list[float] = field(default_factory=list)
    """Duration of each round."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """CPU seconds of one round, all peers together, by program."""
    node_bytes: float = 0.0
    """Bytes that one peer sent in one round, read from its p2pd."""
    extra: dict[str, float] = field(default_factory=dict)
    """Numbers that only this side has."""

    @property
    def median_s(self) -> float:
        """Median duration of a round."""
        return statistics.median(self.seconds)

    def charge(self, used: Usage, rounds: float) -> None:
        """Set the costs of one round from those of ``rounds`` rounds."""
        self.cpu_s = {name: s / rounds for name, s in used.cpu_s.items()}
        self.node_bytes = used.moved_bytes / 2 / PEERS / rounds

    def join(self, other: "Measurement") -> None:
        """Take in another block of rounds of the same side, which has the same extra numbers."""
        mine, theirs = len(self.seconds), len(other.seconds)
        total = mine + theirs
        names = self.cpu_s.keys() | other.cpu_s.keys()
        self.cpu_s = {
            name: (self.cpu_s.get(name, 0.0) * mine + other.cpu_s.get(name, 0.0) * theirs) / total
            for name in sorted(names)
        }
        self.node_bytes = (self.node_bytes * mine + other.node_bytes * theirs) / total
        self.seconds += other.seconds
        self.extra = {name: max(self.extra[name], other.extra[name]) for name in sorted(self.extra)}


def end_family(family: Sequence[psutil.Process]) -> None:
    """Kill processes that we started, and wait until they are gone."""
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=END_S)
