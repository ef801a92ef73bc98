"""The ``[workload]`` table of a NAIT job."""

from typing import Literal

from pydantic import Field, field_validator

from workloads.recall.retrieval import Kernel, Rule
from workloads.settings import WorkloadSettings

Protocol = Literal["standard", "deterministic"]
Update = Literal["in_episode", "end_of_trace"]


class NaitConfig(WorkloadSettings):
    """Everything about a NAIT job but its seed. Frozen; unknown keys are refused."""

    workload = "nait"

    environment: str = Field(min_length=1, max_length=256)
    """An Atari game ("breakout"), or "gymnasium:ID" with discrete actions."""
    protocol: Protocol = "standard"
    """How Atari episodes start and how long an action lasts; see ``atari.RULES``."""
    coefficients: int = Field(default=11, ge=1, le=32)
    """Lowest frequencies kept of each axis of a picture."""
    frames: int = Field(default=2, ge=1, le=8)
    """Newest observations in a key."""
    unit: float = Field(default=4.0, gt=0, le=1024)
    """What one step of a picture's int8 coefficient means, in grey levels of an orthonormal
    transform of the picture scaled to 84 x 84."""
    neighbours: int = Field(default=8, ge=1, le=256)
    """k of the k-NN value."""
    kernel: Kernel = "exponential"
    """How a neighbour's weight falls with its distance."""
    gamma: float = Field(default=0.95, ge=0.5, le=0.999)
    """Discount of a step."""
    revisit: float = Field(default=0.3, gt=0, le=1)
    """alpha: weight of the newest return under a key that is seen again."""
    update: Update = "in_episode"
    explore: float = Field(default=0.0, ge=0, le=100)
    """beta: bonus for far neighbours, in units of the mean absolute return."""
    hold: float = Field(default=2.0, ge=0, le=10)
    """Exponent of the time for which a choice between equals is held; 0: not at all."""
    stall_steps: int = Field(default=500, ge=0, le=1 << 20)
    """An episode ends after so many steps without reward; 0: never."""
    fire: bool = False
    """Press FIRE after a start and a loss of life, where the game has it."""
    links: int = Field(default=16, ge=4, le=64)
    """Links of a node in the proximity graph."""
    breadth_add: int = Field(default=100, ge=8, le=1000)
    """Candidates kept while a node is linked."""
    breadth: int = Field(default=32, ge=8, le=1000)
    """Candidates kept in a search."""
    author_share: float = Field(default=0.5, gt=0, le=1)
    """Of the neighbours, that one foreign author may supply."""
    rule: Rule = "trimmed"
    """How the authors' estimates are combined."""
    trim: float = Field(default=0.25, ge=0, lt=0.5)
    """Share of the mass that "trimmed" cuts off at either end."""
    trust: bool = True
    """Score the authors against own experience."""
    author_entries: int = Field(default=1_000_000, ge=1, le=10_000_000)
    """Entries that are taken from one author."""

    @field_validator("hold")
    @classmethod
    def _sum_up(cls, hold: float) -> float:
        """The zeta distribution has a sum only above 1."""
        if 0 < hold <= 1.01:
            raise ValueError("must be 0 or above 1.01")
        return hold
