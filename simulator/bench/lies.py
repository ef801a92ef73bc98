"""What liars send in one step of ``artel bench robustness``: they know all updates and the rule.

Shapes: H honest workers, F liars, D parameters.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from node.exchange.codecs import CODECS
from node.exchange.gram import gram_of
from node.exchange.rules import Rule
from simulator.attacks.formulas import alie_z, line_search, min_max_gamma
from simulator.bench.tasks import Matrix, Vector

SENT_MAX = 1e30
"""Largest coordinate of a lie: what is not finite never passes a decoder."""
SAMPLED = 4096
"""Coordinates that a search looks at, where a rule orders them."""


class Sent:
    """What honest workers send in one step, and how a rule combines it with lies."""

    def __init__(
        self,
        rows: Matrix,
        flipped: Matrix,
        each: Rule,
        f: int,
        codec: str,
        strengths: dict[str, float],
    ) -> None:
        self.rows, self.flipped, self.f = rows, flipped, f
        self._each, self._codec, self._strengths = each, codec, strengths
        self.mean = rows.mean(axis=0)

    @cached_property
    def std(self) -> Vector:
        """By coordinate, [D]."""
        return np.asarray(self.rows.std(axis=0))

    def combine(self, lies: Matrix) -> Vector:
        """The aggregate of honest rows and lies."""
        sent = np.clip(np.vstack([lies, self.rows]), -SENT_MAX, SENT_MAX)
        rows = list(sent.astype(np.float32))
        if self._codec != "none":
            codec = CODECS[self._codec]
            rows = [codec.decode(codec.encode(row), len(row)) for row in rows]
        mixture = None
        if self._each.kind != "coordinates":
            mixture = self._each.mixture(gram_of(rows), self.f, b"bench")
        return self._each.combine(rows, self.f, mixture).astype(np.float64)

    def copies(self, lie: Vector) -> Matrix:
        """One lie, from every liar."""
        return np.tile(lie, (self.f, 1))

    def worst(self, name: str, direction: Vector) -> Matrix:
        """As far along a direction as harms most, in this step or when it was last looked for."""
        if name not in self._strengths:
            self._strengths[name] = line_search(Search(self, self._each, direction).harm)
        return self.copies(self.mean + self._strengths[name] * direction)


class Search:
    """How far lies ``mean + z direction`` move a rule, for many z.

    All rows are combinations of the honest ones and the direction, so their inner products follow
    from one Gram matrix, and so does the harm to a rule of weights. Where coordinates are ordered,
    it is that to a sample of them.
    """

    def __init__(self, sent: Sent, each: Rule, direction: Vector) -> None:
        self._each, self._f = each, sent.f
        base = np.vstack([sent.rows, direction])
        self._gram = base @ base.T
        step = max(1, base.shape[1] // SAMPLED)
        self._some = base[:, ::step]
        self._mean = np.append(np.full(len(sent.rows), 1 / len(sent.rows)), 0.0)

    def harm(self, z: float) -> float:
        """The distance of the aggregate to the honest mean."""
        lie = self._mean.copy()
        lie[-1] = z
        made = np.vstack([np.tile(lie, (self._f, 1)), np.eye(len(lie))[:-1]])
        each, mixture = self._each, None
        if each.kind != "coordinates":
            mixture = each.mixture(made @ self._gram @ made.T, self._f, b"bench")
        if each.kind == "weights" and mixture is not None:
            away = mixture[0] @ made - self._mean
            return float(np.sqrt(max(0.0, away @ self._gram @ away)))
        rows = np.clip(made @ self._some, -SENT_MAX, SENT_MAX).astype(np.float32)
        found = each.combine(list(rows), self._f, mixture)
        return float(np.linalg.norm(found - self._mean @ self._some))


def _mimic(sent: Sent) -> Matrix:
    away = sent.rows - sent.mean
    first = np.linalg.eigh(away @ away.T)[1][:, -1]
    return sent.copies(sent.rows[int(np.argmax(np.abs(first)))])


def _camouflage(sent: Sent) -> Matrix:
    away = sent.rows - sent.mean
    size = np.sqrt((away**2).sum(axis=1).mean()) / max(float(np.linalg.norm(sent.mean)), 1e-12)
    # Noise of honest rows, one each, and half a deviation against the mean.
    return np.asarray(sent.mean * (1 - 0.5 * size) + away[np.arange(sent.f) % len(away)])


def _alie(sent: Sent) -> Matrix:
    z = max(alie_z(len(sent.rows) + sent.f, sent.f), 1.0)
    return sent.copies(sent.mean - z * sent.std)


ATTACKS: Mapping[str, Callable[[Sent], Matrix]] = {
    "none": lambda s: s.copies(s.mean)[:0],
    "sign flip": lambda s: s.copies(-s.mean),
    "sign flip x 10": lambda s: s.copies(-10 * s.mean),
    "label flip": lambda s: s.flipped[: s.f],
    "ipm 0.1": lambda s: s.copies(-0.1 * s.mean),
    "optimal ipm": lambda s: s.worst("ipm", -s.mean),
    "alie": _alie,
    "optimal alie": lambda s: s.worst("alie", -s.std),
    "mimic": _mimic,
    "min-max": lambda s: s.copies(s.mean - min_max_gamma(s.rows, -s.std) * s.std),
    "camouflage": _camouflage,
}
