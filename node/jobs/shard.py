"""Which part of a job's data a node works on."""

from node.ledger.electorate import Electorate
from node.merkle import digest
from node.ports import Shard


def shard_of(public_key: bytes, founders: Electorate) -> Shard:
    """The part of a job's data that a node works on; the same for whoever replays its work.

    Founders have one each. Others take over a founder's, drawn by hash of their key.
    """
    index = founders.index(public_key)
    if index is None:
        index = int.from_bytes(digest("shard", public_key)) % founders.n
    return index, founders.n
