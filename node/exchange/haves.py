"""What justifies a list: HAVEs of a quorum, which name contributions, and applications.

Pure. docs/protocol.md, "HAVE".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from node.errors import Malformed, PeerError
from node.exchange.core import RoundCore
from node.types import Digest
from node.wire.convert import decode_have
from node.wire.messages import Have, ListMessage, Signed


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


def check_applications(core: RoundCore, value: ListMessage) -> None:
    """Raise PeerError unless whoever a list is to seat may enter."""
    door = core.context.door
    if door is None and value.applications:
        raise PeerError("nobody may enter this job")
    if door is not None:
        keys = [door.check(application, core.verify) for application in value.applications]
        door.check_keys(keys, len({e for e, _ in value.commitments}))
