"""Whom to ask for what: from what peers say that they hold, what is held here, and what is allowed.

Pure; ``now`` is an argument. One peer at a time is asked for an author, unless it is slow. What is
taken of an author is limited, so that a flood costs its author, not others.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from node.memory.bucket import WAIT_S_MIN, Bucket
from node.memory.config import (
    BATCH_OVERHEAD_BYTES,
    BATCH_OVERHEAD_ENTRIES,
    MemoryPace,
)
from node.memory.memory_set import MemorySet
from node.types import PeerId
from node.wire.limits import PULL_BYTES_MAX
from node.wire.memory_messages import BatchHeader, BatchWant, MemoryLine

CLAIM_S = 1.0
"""A peer that was asked for an author is left alone for so long ..."""
CLAIM_BYTES_PER_S = 128 * 1024
"""... and for longer while it sends at least at this rate; then another is asked too."""
ENCODING_BYTES = 32
"""Tags and lengths of an encoded batch."""
PULL_S = 0.25
"""One request asks for about as much as its peer sends in this time: what is urgent waits no longer
for it on a thin line."""
PULL_BYTES_MIN = 128 * 1024


@dataclass
class PeerState:
    """What one peer said, and how it behaved."""

    lines: dict[PeerId, MemoryLine] = field(default_factory=dict)
    retry_at: float = 0.0
    failures: int = 0
    pull_bytes: float = 2 * PULL_BYTES_MIN
    """What one request asks it for in all."""

    def moved(self, bytes_: int, seconds: float) -> None:
        """A stream brought so much after its first chunk: the next one lasts PULL_S at its rate."""
        if bytes_ > self.pull_bytes / 4:
            rate = bytes_ / max(seconds, 1e-6)
            wanted = min(rate * PULL_S, 2 * self.pull_bytes, PULL_BYTES_MAX)
            self.pull_bytes = max(wanted, PULL_BYTES_MIN)

    def hear(self, lines: Iterable[MemoryLine]) -> None:
        """Take newer lines."""
        self.lines.update({line.author: line for line in lines})

    def failed(self, now: float, pace: MemoryPace, *, is_bad: bool) -> None:
        """Leave it alone for a while, twice as long each time; longer if it is at fault."""
        most_s = pace.retry_s_max if is_bad else pace.retry_silent_s_max
        self.retry_at = now + min(pace.retry_s * 2 ** min(self.failures, 16), most_s)
        self.failures += 1

    def worked(self) -> None:
        """It gave what it was asked for."""
        self.failures = 0
        self.retry_at = 0.0


@dataclass
class _Claim:
    peer: PeerId
    since: float
    bytes: int = 0

    @property
    def ends(self) -> float:
        return self.since + CLAIM_S + self.bytes / CLAIM_BYTES_PER_S


@dataclass
class _Allowance:
    entries: Bucket
    bytes: Bucket


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask a peer for now; nothing: look again after ``wait_s``, or when there is news."""

    wants: tuple[BatchWant, ...] = ()
    wait_s: float | None = None


class Planner:
    """Decides what to ask from whom.

    Args:
        held: what is held.
        pace: rates.
        now: seconds of the loop.
    """

    def __init__(self, held: MemorySet, pace: MemoryPace, now: float) -> None:
        self._held = held
        self._pace = pace
        spec = held.spec
        self._batch_bytes = min(
            PULL_BYTES_MAX,
            spec.entries_per_batch * spec.entry_bytes + BATCH_OVERHEAD_BYTES + ENCODING_BYTES,
        )
        entries = spec.entries_quota + spec.batches_per_author * BATCH_OVERHEAD_ENTRIES
        bytes_ = spec.entries_quota * spec.entry_bytes
        bytes_ += spec.batches_per_author * (BATCH_OVERHEAD_BYTES + ENCODING_BYTES)
        burst_s = pace.burst_s
        self._allowed = {
            author: _Allowance(
                Bucket(pace.entries_per_s, pace.entries_per_s * burst_s or entries, now),
                Bucket(pace.bytes_per_s, pace.bytes_per_s * burst_s or bytes_, now),
            )
            for author in held.authors
        }
        self._claims: dict[PeerId, _Claim] = {}

    def plan(self, peer: PeerId, state: PeerState, now: float) -> Plan:
        """What to ask ``peer`` for now."""
        if state.retry_at > now:
            return Plan(wait_s=max(state.retry_at - now, WAIT_S_MIN))
        ready: list[tuple[PeerId, int]] = []
        waits: list[float] = []
        for author in self._held.authors:
            line = state.lines.get(author)
            from_seq = None if line is None else self._from_seq(line)
            if from_seq is None:
                continue
            wait_s = self._wait_s(peer, author, now)
            if wait_s > 0:
                waits.append(wait_s)
            else:
                ready.append((author, from_seq))
        if ready:
            each = state.pull_bytes / len(ready)
            return Plan(tuple(BatchWant(a, s, self._bytes_max(a, each, now)) for a, s in ready))
        return Plan(wait_s=min(waits, default=None))

    def _from_seq(self, line: MemoryLine) -> int | None:
        """The first batch to ask for; None: it has none that are wanted."""
        chain = self._held.chain(line.author)
        if chain.is_forked or line.forked or not line.next:
            return None
        if line.next < chain.next:
            return None
        if line.next == chain.next:
            head = chain.head
            return chain.next - 1 if head is not None and head.id != line.head else None
        stage = self._held.stages.get(line.author)
        if stage is not None and chain.next < line.start <= stage.chain.next < line.next:
            return stage.chain.next
        return chain.next

    def _wait_s(self, peer: PeerId, author: PeerId, now: float) -> float:
        claim = self._claims.get(author)
        if claim is not None and claim.peer != peer and now < claim.ends:
            return max(claim.ends - now, WAIT_S_MIN)
        allowed = self._allowed[author]
        full = self._held.spec.entries_per_batch + BATCH_OVERHEAD_ENTRIES
        return max(
            allowed.entries.ready_in_s(full, now), allowed.bytes.ready_in_s(self._batch_bytes, now)
        )

    def _bytes_max(self, author: PeerId, most: float, now: float) -> int:
        allowed = self._allowed[author]
        by_entries = allowed.entries.level(now) * self._held.spec.entry_bytes
        return max(1, int(min(allowed.bytes.level(now), by_entries, most, PULL_BYTES_MAX)))

    def began(self, peer: PeerId, wants: Iterable[BatchWant], now: float) -> None:
        """These were asked for: nobody else is, for a while.

        The stage of a slow peer changes hands, or ends where this one cannot go on with it.
        """
        for want in wants:
            claim = self._claims.get(want.author)
            if claim is None or claim.peer != peer:
                self._claims[want.author] = _Claim(peer, now)
            stage = self._held.stages.get(want.author)
            if stage is not None and want.from_seq == stage.chain.next:
                stage.hand_to(peer)
            elif stage is not None:
                del self._held.stages[want.author]

    def received(
        self, peer: PeerId, header: BatchHeader, size: int, *, fresh: bool, now: float
    ) -> None:
        """A batch came; a fresh one counts against its author's allowance."""
        claim = self._claims.get(header.author)
        if claim is not None and claim.peer == peer:
            claim.bytes += size
        if fresh:
            allowed = self._allowed[header.author]
            allowed.entries.take(header.entries + BATCH_OVERHEAD_ENTRIES, now)
            allowed.bytes.take(size, now)

    def ended(self, peer: PeerId, state: PeerState) -> bool:
        """The stream of ``peer`` ended: others may be asked, but for a jump that goes on.

        Returns:
            Whether a jump was dropped that the peer began: it has no more to give, and that is not
            complete.
        """
        dropped = False
        for author, claim in list(self._claims.items()):
            stage = self._held.stages.get(author)
            line = state.lines.get(author)
            goes_on = (
                stage is not None
                and stage.peer == peer
                and line is not None
                and stage.chain.next < line.next
                and state.failures == 0
            )
            if claim.peer == peer and not goes_on:
                del self._claims[author]
                if stage is not None and stage.peer == peer:
                    del self._held.stages[author]
                    dropped |= stage.is_chosen
        return dropped

    def lag(self, lines: Iterable[MemoryLine]) -> int:
        """Entries that are not held here though two peers say, by ``lines``, that they hold them.

        Where only one peer tells of an author, its word has to do.
        """
        told: dict[PeerId, list[int]] = {}
        for line in lines:
            if line.author in self._held and not self._held.chain(line.author).is_forked:
                told.setdefault(line.author, []).append(line.entries)
        return sum(
            max(0, sorted(entries)[-2:][0] - self._held.chain(author).end_entry)
            for author, entries in told.items()
        )
