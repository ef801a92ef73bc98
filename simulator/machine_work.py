"""What stands for the maths of a round where machines run alone (``machines``): names, and rows."""

from collections.abc import Sequence

from node.exchange.core import RoundCore
from node.exchange.effects import Fetch
from node.exchange.round import RoundMachine
from node.merkle import digest
from node.types import Digest
from node.wire.messages import FetchReply, PartScreen, Signed


def root_of(part: int, data: bytes) -> Digest:
    """Names a result."""
    return digest("part", bytes([part]) + data)


def screen_of(
    machine: RoundMachine, list_id: Digest, listed: tuple[int, ...], part: int
) -> PartScreen:
    """The rows that are here, as if all were orthogonal and of length 1."""
    ids = dict(machine.core.lists[list_id].commitments)
    rows = tuple(
        e for e in listed if (ids[e], part) in machine.core.parts or e == machine.core.context.me
    )
    complaints = tuple((e, "missing") for e in listed if e not in rows)
    gram = b"".join(int(i == j).to_bytes(8, "little") for i in rows for j in rows if j >= i)
    return PartScreen(part, rows, gram, complaints)


def found_by(
    asked: Sequence[RoundCore], effect: Fetch
) -> tuple[FetchReply, list[tuple[int, Digest, bytes]]]:
    """What those who are asked hold: (signed messages, results with their roots)."""
    signed: list[Signed] = []
    results: list[tuple[int, Digest, bytes]] = []
    for core in asked:
        signed += [core.signed[i] for i in effect.ids if i in core.signed]
        results += [
            (core.results[i][0], i, core.results[i][1]) for i in effect.ids if i in core.results
        ]
    return FetchReply(tuple(signed), ()), results
