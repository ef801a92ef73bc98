"""What the shared memory on a stopped node's disk proves: batches of their authors, in a chain."""

from collections.abc import Iterator
from dataclasses import dataclass

from node.errors import Malformed, PeerError
from node.identity import Verifier
from node.jobs.stopped_folder import StoppedFolder
from node.ledger.forks import check_fork, check_signature, contradict
from node.ledger.frontier import Frontier
from node.memory.batch import check_body
from node.memory.segment import Index, split
from node.types import JobId, PeerId
from node.wire.convert_memory import decode_batch, decode_fork
from node.wire.memory_messages import Batch, SignedHeader


@dataclass(frozen=True)
class MemoryReport:
    """What of a job's memory is on a disk."""

    entries: int = 0
    """Signed by their authors; they count up to the first that does not verify."""
    entries_behind: int = 0
    """Certified entries that the disk does not reach: peers had not sent them yet."""
    reason: str = ""
    """What failed, in one sentence; empty where all verifies."""


def verify_memory(
    folder: StoppedFolder, job: JobId, frontier: Frontier, verify: Verifier
) -> MemoryReport:
    """Verify bodies, signatures and order of all batches that a folder holds of a job.

    Args:
        folder: of a node that does not run.
        job: whose memory.
        frontier: how far each author is certified to be.
        verify: checks signatures.

    Raises:
        sqlite3.Error: the slot log is damaged.
    """
    prefix = f"memory/{job.hex()}/"
    certified = {reach.author: reach.entries for reach in frontier}
    found = {PeerId(key.partition("/")[0]) for key, _ in folder.scan(prefix) if "/" in key}
    entries = behind = 0
    reason = ""
    for author in sorted(found | certified.keys()):
        first = end = 0
        try:
            if (proof := folder.get(f"{prefix}{author}/fork")) is not None:
                check_fork(decode_fork(proof), job, verify)
                continue
            newest: SignedHeader | None = None
            for batch in _batches(folder, job, author):
                _check(batch, newest, author, job, verify)
                header = batch.header
                if newest is None or header.seq != newest.header.seq + 1:
                    first = header.first_entry  # what is older was left by a crash in a jump
                newest, end = batch.signed, header.end_entry
        except (PeerError, OSError) as error:
            reason = reason or f"The memory of {author} does not verify: {error}."
        entries += end - first
        behind += max(0, certified.get(author, 0) - end)
    return MemoryReport(entries, behind, reason)


def _batches(folder: StoppedFolder, job: JobId, author: PeerId) -> Iterator[Batch]:
    """All of an author's, oldest first: those in segments, then those in slots.

    Raises:
        PeerError, OSError: one cannot be read.
    """
    prefix = f"memory/{job.hex()}/{author}/"
    last = -1
    for segment in Index.decode(folder.get(prefix + "index") or b"").live:
        data = folder.blob(f"memory/{job.hex()[:32]}/{author}/{segment.first:015d}")
        if not segment.matches(data):
            raise Malformed(f"the segment of batch {segment.first} is not as it was written")
        yield from map(decode_batch, split(data))
        last = segment.last
    for seq, data in folder.scan(prefix + "b/"):
        if int(seq) > last:  # others were left by a crash after their segment was written
            yield decode_batch(data)


def _check(
    batch: Batch, before: SignedHeader | None, author: PeerId, job: JobId, verify: Verifier
) -> None:
    """One batch after the one before it, if there is one.

    Raises:
        PeerError: it is not its author's, not whole, or contradicts the one before it.
    """
    if batch.header.author != author:
        raise Malformed(f"batch {batch.header.seq} is one of {batch.header.author}")
    check_body(batch)
    check_signature(batch.signed, job, verify)
    if before is not None and contradict(before, batch.signed):
        raise Malformed(f"batch {batch.header.seq} contradicts the one before it")
