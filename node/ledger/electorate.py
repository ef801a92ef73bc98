"""Who votes in a round, how many lies it survives, and who leads a view.

Pure. Who was silent in the last rounds leads and reduces after all others, so that nobody has to
wait for it. docs/protocol.md, "Electorate".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from node.identity import peer_id_of
from node.types import ELECTORS_MAX, PeerId


def liars_borne(n: int) -> int:
    """Electors of ``n`` that may lie or be away, f: floor((n - 1) / 3)."""
    return (n - 1) // 3


def quorum_of(n: int) -> int:
    """Votes that decide among ``n`` electors: ceil(2n / 3)."""
    return -(-2 * n // 3)


@dataclass(frozen=True)
class Electorate:
    """The electors of one round, sorted by peer id.

    Args:
        keys: (public key, incarnation) of each elector, in the order of their peer ids.
        missed: of each elector, for how many rounds in a row no list held it; empty: all were held.
    """

    keys: tuple[tuple[bytes, int], ...]
    missed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert 1 <= len(self.keys) <= ELECTORS_MAX
        assert len(set(self.ids)) == len(self.keys)
        assert list(self.ids) == sorted(self.ids)
        assert len(self.missed) in (0, len(self.keys))

    @classmethod
    def of(cls, public_keys: Iterable[bytes]) -> "Electorate":
        """The electorate of first incarnations of these keys, in canonical order."""
        return cls(tuple((key, 0) for key in sorted(set(public_keys), key=peer_id_of)))

    @cached_property
    def ids(self) -> tuple[PeerId, ...]:
        """Peer ids, sorted; an elector's index is its position here."""
        return tuple(peer_id_of(key) for key, _ in self.keys)

    @cached_property
    def _index(self) -> dict[bytes, int]:
        return {key: i for i, (key, _) in enumerate(self.keys)}

    @cached_property
    def n(self) -> int:
        """Number of electors."""
        return len(self.keys)

    @cached_property
    def f(self) -> int:
        """Liars that safety survives: floor((n - 1) / 3)."""
        return liars_borne(self.n)

    @cached_property
    def quorum(self) -> int:
        """Votes that decide: ceil(2n / 3). Two quorums share more than f electors."""
        return quorum_of(self.n)

    @property
    def replicas(self) -> int:
        """Default number of equal answers for each part: min(f + 1, 3)."""
        return min(self.f + 1, 3)

    def index(self, public_key: bytes) -> int | None:
        """Position of a key, or None for a stranger."""
        return self._index.get(public_key)

    @cached_property
    def away(self) -> frozenset[int]:
        """Those whom nobody need wait for: absent from the last list, at most n - quorum.

        More than a round can do without were late, not silent; of them those count that are absent
        for longest. So a lie about who is absent never leaves liars among themselves.
        """
        absent = [e for e, rounds in enumerate(self.missed) if rounds]
        absent.sort(key=lambda e: -self.missed[e])
        return frozenset(absent[: self.n - self.quorum])

    def leader(self, round_: int, view: int) -> int:
        """Index of the elector that leads ``view`` of ``round_``: all in turn, the silent last."""
        turns = [(round_ + k) % self.n for k in range(self.n)]
        if self.away:
            turns.sort(key=lambda e: self.missed[e] if e in self.away else 0)
        return turns[view % self.n]
