"""Attacks of a reducer: false inner products, false combinations, and lies for an accomplice."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from node.exchange.gram import IntegerGram
from node.exchange.reduction import pack_gram, unpack_gram
from node.ports import FloatVector, Rows
from node.wire.convert import decode_screens, encode_screens
from node.wire.messages import PartScreen
from simulator.attacks.base import Attack

Lie = Callable[[int, PartScreen, IntegerGram], None]


class wrong_slice(Attack):
    """Combines the rows of another part in place of those of its own.

    Where there is one part alone: the same part, shifted.
    """

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """The next part that it holds, cut or repeated to length."""
        parts = sorted({part for _, part in rows})
        following = dict(zip(parts, [*parts[1:], parts[0]], strict=True))
        false = {
            (elector, part): np.resize(np.roll(rows[elector, following[part]], 1), len(row))
            for (elector, part), row in rows.items()
        }
        return false, weights


class drop_contributor(Attack):
    """Leaves one honest row out of what it combines.

    Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), a malicious aggregator.
    """

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """The victim's weight goes to the others; its row becomes their mean."""
        electors = sorted({elector for elector, _ in rows})
        honest = [e for e in electors if e not in self.accomplices]
        if not honest or len(electors) < 2:
            return rows, weights
        victim = honest[round_ % len(honest)]
        false = dict(rows)
        for part in sorted({part for _, part in rows}):
            others = [rows[e, part] for e in electors if e != victim]
            middle = np.stack(others).mean(axis=0, dtype=np.float64)
            false[victim, part] = np.asarray(middle, np.float32)
        if not weights:  # a rule of coordinates
            return false, weights
        left = [0.0 if e == victim else w for e, w in zip(electors, weights, strict=True)]
        share = math.fsum(weights) / (math.fsum(left) or 1.0)
        return false, [w * share for w in left]


class wrong_weights(Attack):
    """Gives all the weight to its accomplices' rows, or to one row if there is none."""

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """The favourite's row in place of every row, and its weight in place of all."""
        return _favouring(self.accomplices, rows)


class wrong_gram(Attack):
    """Alters one inner product of each part that it screens, within what the norms allow.

    Source: docs/protocol.md, "How sure": the norms pin the diagonal and bound the rest.
    """

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """Screens with one false element each; every attacker another one."""
        return _with_grams(body, self.lie, round_) if kind == "screen" else body

    def lie(self, round_: int, screen: PartScreen, gram: IntegerGram) -> None:
        """Change ``gram``, shape [rows, rows], in place."""
        rng = self.own_rng(round_, screen.part)
        i, j = sorted(rng.choice(len(gram), 2, replace=False).tolist())
        bound = _bound(gram, i, j)
        gram[i, j] = gram[j, i] = -bound if gram[i, j] > 0 else bound


class wrong_gram_favour(wrong_gram):
    """All attackers tell the same lie: their own updates point where every honest one does."""

    def lie(self, round_: int, screen: PartScreen, gram: IntegerGram) -> None:
        """The largest inner products that the norms allow, for the accomplices' rows."""
        favoured = set(self.accomplices)
        for i, elector in enumerate(screen.rows):
            for j in range(len(gram)):
                if elector in favoured and i != j:
                    gram[i, j] = gram[j, i] = _bound(gram, i, j)


class collude(wrong_gram_favour):
    """A contributor and a reducer who lie for each other: a reversed update that screens favour.

    As a contributor it sends ``-scale * update``; as a reducer it says that such updates point
    where the honest ones do, and combines nothing but them.
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """``-scale * update``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return update * np.float32(-self.scale)

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """As ``wrong_weights``."""
        return _favouring(self.accomplices, rows)


def _bound(gram: IntegerGram, i: int, j: int) -> int:
    """Largest element that Cauchy-Schwarz allows."""
    return math.isqrt(int(gram[i, i]) * int(gram[j, j]))


def _favouring(accomplices: Sequence[int], rows: Rows) -> tuple[Rows, Sequence[float]]:
    electors = sorted({elector for elector, _ in rows})
    chosen = next((e for e in accomplices if e in electors), electors[0])
    false = {(elector, part): rows[chosen, part] for elector, part in rows}
    return false, [float(e == chosen) for e in electors]


def _with_grams(body: bytes, lie: Lie, round_: int) -> bytes:
    value = decode_screens(body)
    screens = []
    for screen in value.screens:
        if len(screen.rows) > 1:
            gram = unpack_gram(screen.gram, len(screen.rows)).copy()
            lie(round_, screen, gram)
            screen = replace(screen, gram=pack_gram(gram))
        screens.append(screen)
    return encode_screens(replace(value, screens=tuple(screens)))
