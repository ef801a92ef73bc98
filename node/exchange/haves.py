"""What justifies a list: HAVEs of a quorum, which name contributions.

Pure. docs/protocol.md, "HAVE".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from node.errors import Malformed, PeerError
from node.exchange.core import RoundCore
from node.types import Digest
from node.wire.convert import decode_have
from node.wire.messages import Have, Signed


def open_haves(core: RoundCore, haves: tuple[Signed, ...], view: int) -> list[Have]:
    """The HAVEs of a quorum of electors for ``view``.

    Raises:
        PeerError: too few, a duplicate, a wrong kind or view, a bad signature.
    """
    seen: set[int] = set()
    opened: list[Have] = []
    for signed in haves:
        if signed.kind != "have":
            raise Malformed(f"a {signed.kind} among the HAVEs")
        seen.add(core.elector_of(signed))
        have = decode_have(signed.body)
        if have.view != view:
            raise PeerError(f"a HAVE of view {have.view} justifies view {view}")
        if have.prepared:
            core.check_lock(have.prepared)
        opened.append(have)
    if len(seen) != len(haves) or len(seen) < core.electorate.quorum:
        raise PeerError(f"{len(seen)} HAVEs, {core.electorate.quorum} needed")
    return opened


def named_by(haves: Iterable[Sequence[tuple[int, Digest]]]) -> Mapping[tuple[int, Digest], int]:
    """How many HAVEs name each commitment."""
    return Counter(chain.from_iterable(haves))
