"""Adaptive, colluding attacks: they see the honest updates of the round before they choose.

Alone in a process, an attacker guesses the honest ones from its own last updates. m and s are the
mean and the standard deviation by coordinate of the honest updates.
"""

import numpy as np

from node.ports import FloatVector
from simulator.attacks.base import Attack
from simulator.attacks.board import Crowd, Matrix, Vector
from simulator.attacks.formulas import alie_z, damage, line_search, min_max_gamma, min_sum_gamma

MIMIC_LEARNS_ROUNDS = 3
"""Rounds in which ``mimic`` learns a direction before it settles on whom to copy."""


class _Colluder(Attack):
    """Sends what ``choose`` makes of the honest updates."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The chosen lie."""
        return self.choose(await self.crowd(round_, update)).astype(np.float32)

    def choose(self, crowd: Crowd) -> Vector:
        """The lie, shape [d]."""
        raise NotImplementedError


class ipm(_Colluder):
    """Inner product manipulation: the honest mean reversed, ``-scale * m``.

    Source: Xie, Koyejo, Gupta 2019, arXiv:1903.03936, section 4; epsilon is the scale.
    """

    def choose(self, crowd: Crowd) -> Vector:
        """``-scale * m``."""
        return -self.scale * crowd.mean


class alie(_Colluder):
    """A little is enough: away from the mean by as much as still looks honest, ``m - scale z s``.

    Source: Baruch et al. 2019, arXiv:1902.06156, Algorithm 3. With few electors z is 0.
    """

    def choose(self, crowd: Crowd) -> Vector:
        """``m - scale * z(n, f) * s``."""
        z = alie_z(len(crowd.rows) + crowd.liars, crowd.liars)
        return crowd.mean - self.scale * z * crowd.std


class alie_opt(_Colluder):
    """ALIE with the z that moves the job's own rule farthest, found by a line search.

    Source: Shejwalkar & Houmansadr 2021, NDSS, section IV (known aggregation rule); the search is
        that of Gonzalez et al. 2025, arXiv:2505.24802 (ByzFL), "Optimal ALIE".
    """

    def choose(self, crowd: Crowd) -> Vector:
        """``m - scale * z s`` with the worst z."""
        rule = self.board.rule if self.board else "caf"
        mean, std = crowd.mean, crowd.std
        z = line_search(lambda z: damage(crowd, rule, mean - z * std))
        return mean - self.scale * z * std


class min_max(_Colluder):
    """As far along -s as no distance to an honest update exceeds the largest honest distance.

    Source: Shejwalkar & Houmansadr 2021, NDSS, equation 3, with the inverse standard deviation.
    """

    def choose(self, crowd: Crowd) -> Vector:
        """``m - scale * gamma * s``."""
        return crowd.mean - self.scale * min_max_gamma(crowd.rows, -crowd.std) * crowd.std


class min_sum(_Colluder):
    """As ``min_max``, for the sum of the squared distances.

    Source: Shejwalkar & Houmansadr 2021, NDSS, equation 4.
    """

    def choose(self, crowd: Crowd) -> Vector:
        """``m - scale * gamma * s``."""
        return crowd.mean - self.scale * min_sum_gamma(crowd.rows, -crowd.std) * crowd.std


class mimic(_Colluder):
    """All copy the same honest update, so that it counts too much.

    Whom: the one with the largest projection on the direction of largest variance, which is
    learned in the first rounds.

    Source: Karimireddy, He, Jaggi 2022, arXiv:2006.09365, section 3.2 and Appendix A (mimic).
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._rounds = 0
        self._mean: Vector | None = None
        self._z: Vector | None = None
        self._target = 0

    def choose(self, crowd: Crowd) -> Vector:
        """The target's update."""
        rows = crowd.rows
        if self._rounds < MIMIC_LEARNS_ROUNDS:
            self._target = self._learn(rows)
            self._rounds += 1
        return np.asarray(rows[min(self._target, len(rows) - 1)])

    def _learn(self, rows: Matrix) -> int:
        """One step of the power iteration; the row that stands out most along its direction."""
        t, d = self._rounds, rows.shape[1]
        mean = np.zeros(d) if self._mean is None else self._mean
        z = self.rng(0).standard_normal(d) if self._z is None else self._z
        mean = (t * mean + rows.mean(axis=0)) / (1 + t)
        away = rows - mean
        z = (t * z + away.T @ (away @ z)) / (1 + t)
        size = float(np.linalg.norm(z))
        self._mean, self._z = mean, z / size if size > 0.0 else None
        return int(np.argmax(np.abs(away @ z)))


class drift(Attack):
    """Camouflaged: an honest update and a small step that is the same in every round.

    Source: Karimireddy, He, Jaggi 2021, arXiv:2012.10333, section 3.2 (time-coupled attack): the
        step is half of the honest spread, along a fixed random direction.
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """``update + scale / 2 * spread * u``."""
        crowd = await self.crowd(round_, update)
        direction = self.rng(0).standard_normal(update.shape)
        direction /= np.linalg.norm(direction)
        return (update + 0.5 * self.scale * crowd.spread * direction).astype(np.float32)
