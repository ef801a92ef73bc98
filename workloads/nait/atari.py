"""Atari games by hand through the Arcade Learning Environment: the fastest way to one game."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.nait.config import Protocol
from workloads.nait.environment import Outcome, Picture
from workloads.nait.representation import PictureEncoder

HEIGHT, WIDTH = 210, 160
NOOP, FIRE = 0, 1
ORIGIN_FRAMES = 60
"""Frames without action before the screen that lies at the origin of all keys."""


@dataclass(frozen=True)
class Rules:
    """How a game is played; results under different rules never share a table."""

    frame_skip: int
    """Frames that an action lasts."""
    noops_min: int
    """Frames without action at an episode's start, at least."""
    noops_max: int
    """At most; drawn evenly."""
    steps: int
    """Agent steps of a full run: 400,000 frames."""
    episode_frames_max: int = 108_000


RULES: Mapping[Protocol, Rules] = {
    "standard": Rules(frame_skip=4, noops_min=1, noops_max=30, steps=100_000),
    "deterministic": Rules(frame_skip=5, noops_min=250, noops_max=250, steps=80_000),
}
"""standard: ATARI100k as SPR and others use it. deterministic: NAIT's predecessor's, every episode
starts alike. Both: no sticky actions, minimal action set, rewards as they are, full games.

Source: Kaiser et al. 2020, arXiv:1903.00374, for the steps of ATARI 100k; A. Long's
model-free-episodic-control (2020) for deterministic starts."""


class AtariGame:
    """One game; see ``environment.Environment``.

    An observation is the pixelwise maximum of an action's last two grey screens.

    Args:
        game: "breakout", "MsPacman", "ms_pacman".
        protocol: A key of ``RULES``.
        coefficients: Of each axis of a picture.
        unit: Grey levels of an int8 step.
        fire: Press FIRE once after a start and after each lost life, if the game has the button.

    Raises:
        WorkloadError: ale-py is missing or does not know the game.
    """

    def __init__(
        self, game: str, protocol: Protocol, coefficients: int, unit: float, fire: bool
    ) -> None:
        ale_py = _load_ale()
        self.name = rom_name(game)
        self._rules = RULES[protocol]
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 1)
        known = ale_py.roms.get_all_rom_ids()
        if self.name not in known:
            raise WorkloadError(f"no Atari game {game!r}: choose one of {', '.join(sorted(known))}")
        self._ale.loadROM(ale_py.roms.get_rom_path(self.name))
        self._buttons = list(self._ale.getMinimalActionSet())
        codes = [int(button.value) for button in self._buttons]
        self._noop = self._buttons[codes.index(NOOP)] if NOOP in codes else self._buttons[0]
        self._fire = self._buttons[codes.index(FIRE)] if fire and FIRE in codes else None
        self.actions = len(self._buttons)
        self._encoder_settings = (coefficients, unit)
        self._newest = np.empty((HEIGHT, WIDTH), np.uint8)
        self._before = np.empty((HEIGHT, WIDTH), np.uint8)
        self._lives = 0

    def encoder(self) -> PictureEncoder:
        """The transform, with the screen after the first second as its origin."""
        encoder = PictureEncoder(HEIGHT, WIDTH, *self._encoder_settings)
        self._ale.reset_game()
        for _ in range(ORIGIN_FRAMES):
            self._ale.act(self._noop)
        self._ale.getScreenGrayscale(self._newest)
        encoder.set_reference(self._newest)
        return encoder

    def draw_start(self, rng: np.random.Generator) -> int:
        """Frames without action."""
        return int(rng.integers(self._rules.noops_min, self._rules.noops_max, endpoint=True))

    def reset(self, start: int) -> npt.NDArray[np.uint8]:
        """Wait for ``start`` frames, at least one."""
        act = self._ale.act
        self._ale.reset_game()
        for _ in range(start - 1):
            act(self._noop)
        self._ale.getScreenGrayscale(self._before)
        act(self._noop)
        self._look()
        if self._fire is not None:
            self._press(self._fire)
        self._lives = self._ale.lives()
        return self._newest

    def step(self, action: int) -> Outcome:
        """Hold a button for the frames of a step."""
        ale = self._ale
        reward = self._press(self._buttons[action])
        over = bool(ale.game_over()) or (
            ale.getEpisodeFrameNumber() >= self._rules.episode_frames_max
        )
        lives = ale.lives()
        lost = lives < self._lives
        self._lives = lives
        if lost and not over and self._fire is not None:
            reward += self._press(self._fire)
        return Outcome(self._newest, float(reward), lost, over)

    def screen(self) -> Picture:
        """In colour. Shape [210, 160, 3]."""
        picture: Picture = self._ale.getScreenRGB()
        return picture

    def _press(self, button: Any) -> int:
        """Hold a button for one step; the observation is left in ``_newest``."""
        act = self._ale.act
        reward = 0
        for _ in range(self._rules.frame_skip - 1):
            reward += act(button)
        self._ale.getScreenGrayscale(self._before)
        reward += act(button)
        self._look()
        return int(reward)

    def _look(self) -> None:
        """The maximum of this frame and of the one kept in ``_before``."""
        self._ale.getScreenGrayscale(self._newest)
        np.maximum(self._newest, self._before, out=self._newest)


def rom_name(game: str) -> str:
    """The name of the game's file: that of ``MsPacman`` is ``ms_pacman``."""
    if game.islower():
        return game
    return "".join("_" * (c.isupper() and i > 0) + c.lower() for i, c in enumerate(game))


def _load_ale() -> Any:
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise WorkloadError("Atari games need ale-py: pip install 'artel-node[nait]'") from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    return ale_py
