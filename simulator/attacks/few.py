"""Attacks on the answers of few reducers: where r <= f sketches have to tell, else wide lists."""

from collections.abc import Sequence

import numpy as np

from node.exchange.gram import IntegerGram
from node.ports import FloatVector, Rows
from node.types import Digest, PeerId
from node.wire.convert import (
    decode_results,
    decode_sketches,
    encode_results,
    encode_sketches,
)
from node.wire.messages import PartScreen, Results, Sketches
from simulator.attacks.base import Attack
from simulator.attacks.reducers import wrong_gram


class false_result(Attack):
    """Adds noise of SCALE times its length to each result; all attackers add the same."""

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """The row of the largest weight takes the noise; a rule of coordinates, every row."""
        electors = sorted({elector for elector, _ in rows})
        false: dict[tuple[int, int], FloatVector] = dict(rows)
        for part in sorted({part for _, part in rows}):
            held = np.stack([rows[e, part] for e in electors]).astype(np.float64)
            shares = np.array(weights or [1 / len(electors)] * len(electors))
            noise = self.rng(round_, part).normal(size=held.shape[1])
            length = self.scale * np.linalg.norm(shares @ held) / np.linalg.norm(noise)
            for k in [int(shares.argmax())] if weights else range(len(electors)):
                share = shares[k] if weights else 1.0
                false[electors[k], part] = (held[k] + noise * length / share).astype(np.float32)
        return false, weights


class gram_zero(wrong_gram):
    """Screens every two rows as orthogonal."""

    def lie(self, round_: int, screen: PartScreen, gram: IntegerGram) -> None:
        """The diagonal alone."""
        gram[:] = np.diag(gram.diagonal())


class gram_shrink(wrong_gram):
    """Screens all inner products of two rows with half their size."""

    def lie(self, round_: int, screen: PartScreen, gram: IntegerGram) -> None:
        """Half of all but the diagonal."""
        norms = gram.diagonal().copy()
        gram[:] //= 2
        np.fill_diagonal(gram, norms)


class gram_permute(wrong_gram):
    """Screens each row with the inner products of the next one, as far as their norms allow."""

    def lie(self, round_: int, screen: PartScreen, gram: IntegerGram) -> None:
        """Cosines of the rows behind, under the own norms."""
        length = np.sqrt(gram.diagonal().astype(np.float64))
        order = np.roll(np.arange(len(gram)), -1)
        cosine = (gram / np.maximum(np.outer(length, length), 1.0))[np.ix_(order, order)]
        norms = gram.diagonal().copy()
        gram[:] = (0.999 * cosine * np.outer(length, length)).astype(np.int64)
        np.fill_diagonal(gram, norms)


class narrow_gram(wrong_gram):
    """Lies in its first screens of a round, which only the leader may hear, and in no others."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._lied = 0

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """As ``wrong_gram``, once a round."""
        if kind != "screen" or self._lied == round_:
            return body
        self._lied = round_
        return super().signs(round_, kind, body)


class narrow_result(false_result):
    """As ``false_result``, in its first results of a round alone."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._lied = 0

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """Noise once a round."""
        if self._lied == round_:
            return rows, weights
        self._lied = round_
        return super().reduces(round_, rows, weights)


class hide_nonce(Attack):
    """Binds itself to a nonce, as all do, and never tells it."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None for reveals."""
        return None if kind == "reveal" else message


class hide_sketch(Attack):
    """Contributes, but never sketches what it contributed: nothing can be checked without."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None for sketches."""
        return None if kind == "sketch" else message


class false_sketch(Attack):
    """Declares the sketches of a vector 1 + SCALE times as long as the one that it committed to."""

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """Every bucket that much larger."""
        if kind != "sketch":
            return body
        value = decode_sketches(body)
        longer = tuple(
            np.rint(np.frombuffer(part, "<i4") * (1.0 + self.scale)).astype("<i4").tobytes()
            for part in value.parts
        )
        return encode_sketches(Sketches(value.beacon_id, longer))


class late_result(Attack):
    """Once the beacon is known, signs another result in place of its sketch."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._results = b""

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The body itself; remembers the results."""
        if kind == "result":
            self._results = body
        return body

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """Other roots for the same plan, under a true signature."""
        if kind != "sketch" or not self._results:
            return message
        value = decode_results(self._results)
        other = tuple((part, Digest(root[::-1])) for part, root in value.results)
        body = encode_results(Results(value.plan_id, other))
        return self.forge(message, lambda _: body, "result")
