"""What a learner plays: the interface, and any gymnasium environment behind it."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.nait.representation import Encoder, PictureEncoder, VectorEncoder

Observation = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]

PREFIX = "gymnasium:"
ACTIONS_MAX = 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gave."""

    observation: Observation
    reward: float
    """In the game's points."""
    life_lost: bool
    """The trace ends here, the episode need not."""
    over: bool
    """The episode has ended."""


class Environment(Protocol):
    """One game, played step by step and replayable: equal starts and actions give equal steps."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def actions(self) -> int:
        """How many there are, 2 to 256."""
        ...

    def encoder(self) -> Encoder:
        """What makes keys of this game's observations."""
        ...

    def draw_start(self, rng: np.random.Generator) -> int:
        """The number that decides how an episode starts."""
        ...

    def reset(self, start: int) -> Observation:
        """Start an episode."""
        ...

    def step(self, action: int) -> Outcome:
        """Play one step; the observation may be overwritten by the next."""
        ...

    def screen(self) -> Picture | None:
        """The game as people see it, shape [h, w, 3]; None if there is nothing to see."""
        ...


class GymnasiumEnvironment:
    """Any registered environment with discrete actions and pixel or vector observations.

    A picture is made grey; a vector's components are scaled by their bounds, or by 3 where they
    have none.

    Args:
        id_: As gymnasium knows it.
        coefficients: Of each axis of a picture.
        unit: Grey levels of an int8 step.

    Raises:
        WorkloadError: gymnasium is missing, or the environment does not exist or does not fit.
    """

    UNBOUNDED = 3.0

    def __init__(self, id_: str, coefficients: int, unit: float) -> None:
        gymnasium = _load_gymnasium()
        try:
            self._environment = gymnasium.make(id_)
        except gymnasium.error.Error as error:
            raise WorkloadError(f"no environment {id_!r}: {error}") from error
        self.name = id_
        actions, space = self._environment.action_space, self._environment.observation_space
        discrete = isinstance(actions, gymnasium.spaces.Discrete)
        if not discrete or not 2 <= int(actions.n) <= ACTIONS_MAX:
            raise WorkloadError(f"{id_}: NAIT needs 2 to 256 discrete actions, not {actions}")
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) not in (1, 2, 3):
            raise WorkloadError(f"{id_}: NAIT needs pictures or vectors, not {space}")
        self.actions = int(actions.n)
        self._first = int(actions.start)
        self._shape = tuple(int(n) for n in space.shape)
        self._low, self._high = space.low, space.high
        self._coefficients, self._unit = coefficients, unit
        self._seen: Observation = np.zeros(self._shape, np.float32)

    def encoder(self) -> Encoder:
        """A transform for pictures, a scale for vectors."""
        if len(self._shape) == 1:
            bounds = np.maximum(np.abs(self._low), np.abs(self._high)).astype(np.float64)
            bounds[~(bounds < 1e3) | (bounds == 0)] = self.UNBOUNDED
            return VectorEncoder(bounds)
        return PictureEncoder(self._shape[0], self._shape[1], self._coefficients, self._unit)

    def draw_start(self, rng: np.random.Generator) -> int:
        """A seed for the environment."""
        return int(rng.integers(1 << 31))

    def reset(self, start: int) -> Observation:
        """Start with a seed."""
        observation, _ = self._environment.reset(seed=start)
        return self._see(observation)

    def step(self, action: int) -> Outcome:
        """One step of the environment."""
        observation, reward, over, cut, _ = self._environment.step(self._first + action)
        return Outcome(self._see(observation), float(reward), False, bool(over or cut))

    def screen(self) -> Picture | None:
        """The newest picture, if observations are pictures."""
        if len(self._shape) == 1:
            return None
        picture = self._seen.astype(np.uint8)
        return np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]

    def _see(self, observation: Observation) -> Observation:
        self._seen = observation
        return observation.mean(axis=2) if observation.ndim == 3 else observation


def _load_gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise WorkloadError(
            "this environment needs gymnasium: pip install 'artel-node[nait]'"
        ) from error
    return gymnasium
