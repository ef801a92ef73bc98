"""Attacks on a shared memory whose values are labels, each entry's payload being its label's text.

Every lie is well formed: a true key, a label that exists, the text that belongs to it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from simulator.attacks.memories import FLOOD, MemoryAttack, multiplied, nudged
from workloads.api import Entries

NEAR_WAITING_MAX = 50_000
"""Entries of others that wait to be copied."""


class mislabel_memory(MemoryAttack):
    """True keys, each under another label: that of the next class that it has seen."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._texts: dict[float, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
        """Label -> payload of one entry that had it."""

    def sees(self, entries: Entries) -> None:
        """Learn which labels there are."""
        self._learn(entries)

    def _learn(self, entries: Entries) -> None:
        for label, row in zip(*np.unique(entries.values, return_index=True), strict=True):
            self._texts.setdefault(float(label), entries.payload[row])

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The entries under false labels."""
        self._learn(entries)
        labels = sorted(self._texts)
        after = dict(zip(labels, labels[1:] + labels[:1], strict=True))
        false = [after[value] for value in entries.values.tolist()]
        payload = np.array([self._texts[label] for label in false], np.uint8)
        return replace(
            entries,
            values=np.array(false, np.float32),
            payload=payload.reshape(entries.payload.shape),
        )


class mislabel_flood(mislabel_memory):
    """20 SCALE times as many entries as it has, next to its true keys, under false labels."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The entries many times over."""
        return super().shares(multiplied(entries, max(1, int(FLOOD * self.scale)), rng), rng)


class mislabel_near(mislabel_memory):
    """Its own entries, and next to every entry of the others one under a false label."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._seen: list[Entries] = []

    def sees(self, entries: Entries) -> None:
        """Keep what is to be copied."""
        self._learn(entries)
        if sum(map(len, self._seen)) < NEAR_WAITING_MAX:
            self._seen.append(entries)

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """Own entries as they are, and the copies."""
        seen, self._seen = self._seen, []
        false = [
            super(mislabel_near, self).shares(replace(e, keys=nudged(e.keys, rng)), rng)
            for e in seen
        ]
        return joined([entries, *false])


def joined(parts: Sequence[Entries]) -> Entries:
    """Entries one after another, int8 keys on the coarsest scale of those that are not empty."""
    scale = max((e.key_scale for e in parts if len(e)), default=parts[0].key_scale)
    keys = [e.keys if e.keys.dtype != np.int8 else on_scale(e, scale) for e in parts]
    return Entries(
        np.concatenate(keys),
        np.concatenate([e.values for e in parts]),
        np.concatenate([e.payload for e in parts]),
        scale,
    )


def on_scale(entries: Entries, scale: float) -> npt.NDArray[np.int8]:
    """The int8 keys as steps of another scale. Shape [n, d]."""
    keys: npt.NDArray[np.int8] = entries.keys
    if entries.key_scale != scale:
        steps = np.rint(entries.float_keys() / scale)
        keys = np.clip(steps, -127, 127).astype(np.int8)
    return keys
