"""Who votes in a round, how many lies it survives, and who leads a view.

Pure. docs/protocol.md, "Electorate".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from node.identity import peer_id_of
from node.types import ELECTORS_MAX, PeerId


@dataclass(frozen=True)
class Electorate:
    """The electors of one round, sorted by peer id.

    Args:
        keys: (public key, incarnation) of each elector, in the order of their peer ids.
    """

    keys: tuple[tuple[bytes, int], ...]

    def __post_init__(self) -> None:
        assert 1 <= len(self.keys) <= ELECTORS_MAX
        assert len(set(self.ids)) == len(self.keys)
        assert list(self.ids) == sorted(self.ids)

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
        return (self.n - 1) // 3

    @cached_property
    def quorum(self) -> int:
        """Votes that decide: ceil(2n / 3). Two quorums share more than f electors."""
        return -(-2 * self.n // 3)

    @property
    def replicas(self) -> int:
        """Default number of equal answers for each part: min(f + 1, 3)."""
        return min(self.f + 1, 3)

    def index(self, public_key: bytes) -> int | None:
        """Position of a key, or None for a stranger."""
        return self._index.get(public_key)

    def leader(self, round_: int, view: int) -> int:
        """Index of the elector that leads ``view`` of ``round_``."""
        return (round_ + view) % self.n
