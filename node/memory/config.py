"""What a job's memory is like, and how a node keeps it: sizes, quotas, rates, pauses.

``MemorySpec`` belongs to the job: all its nodes need the same, or their sets differ.
``MemoryPace`` is each node's own.
"""

from dataclasses import dataclass

from node.errors import ConfigError
from node.types import SIGNATURE_BYTES
from node.wire.limits import (
    BATCH_BODY_BYTES_MAX,
    BATCH_ENTRIES_MAX,
    BATCH_HEADER_BYTES_MAX,
    ENTRY_PAYLOAD_BYTES_MAX,
    KEY_DIMS_MAX,
)
from node.wire.memory_messages import KeyType

BATCH_OVERHEAD_BYTES = BATCH_HEADER_BYTES_MAX + SIGNATURE_BYTES
"""What a batch is counted for besides its body."""
BATCH_OVERHEAD_ENTRIES = 32
"""Entries that a batch is counted for by rate limits besides its own: it costs a signature."""
ENTRIES_MAX = 2**40
QUOTA_BATCHES_MIN = 4
"""Largest batches that a quota holds at least."""


@dataclass(frozen=True)
class MemorySpec:
    """The form of a job's entries, and how many of them are kept.

    Raises:
        ConfigError: a number out of range.
    """

    key_dims: int
    """Coordinates of a key, 1 to 4096."""
    key_type: KeyType = KeyType.INT8
    payload_bytes: int = 0
    """Bytes that each entry carries besides key and value, 0 to 1024."""
    entries_per_author: int = 250_000
    """Quota: the newest batches of an author that fit are kept. At least 4."""
    bytes_per_author: int = 256 << 20
    """Quota in bytes of bodies and overhead; the smaller of the two holds."""
    batches_per_author: int = 8192
    """Quota in batches, so that many small ones do not fill memory with headers."""

    def __post_init__(self) -> None:
        ranges = {
            "key_dims": (1, KEY_DIMS_MAX),
            "payload_bytes": (0, ENTRY_PAYLOAD_BYTES_MAX),
            "entries_per_author": (1, ENTRIES_MAX),
            "bytes_per_author": (1, ENTRIES_MAX),
            "batches_per_author": (2, 1 << 20),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"memory.{name} = {getattr(self, name)}: {least} to {most}")
        if self.entries_quota < QUOTA_BATCHES_MIN:
            raise ConfigError(
                f"memory: {self.entries_quota} entries an author are too few; raise "
                "entries_per_author or bytes_per_author"
            )

    @property
    def entry_bytes(self) -> int:
        """Bytes of one entry in a body."""
        return 4 + self.key_dims * self.key_type.bytes + self.payload_bytes

    @property
    def entries_per_batch(self) -> int:
        """Largest number of entries of one batch: eviction takes no more than a part at once."""
        by_quota = self.entries_quota // QUOTA_BATCHES_MIN
        return min(BATCH_ENTRIES_MAX, BATCH_BODY_BYTES_MAX // self.entry_bytes, by_quota)

    @property
    def entries_quota(self) -> int:
        """Entries of one author that are kept, by both quotas."""
        return min(self.entries_per_author, self.bytes_per_author // self.entry_bytes)

    @classmethod
    def shared(
        cls, capacity_entries: int, authors: int, key_dims: int, **rest: int | KeyType
    ) -> "MemorySpec":
        """A spec whose capacity is split equally among ``authors``."""
        each = capacity_entries // max(1, authors)
        return cls(key_dims, entries_per_author=each, **rest)  # type: ignore[arg-type]


@dataclass(frozen=True)
class MemoryPace:
    """How fast a node takes in, tells and asks. Seconds, entries and bytes."""

    entries_per_s: float = 4000.0
    """Taken of one author in the long run, overhead of batches included ..."""
    bytes_per_s: float = 4 << 20
    """... and the same in bytes."""
    burst_s: float = 0.0
    """What may be taken at once, in seconds of those rates. 0: a whole quota, for a late joiner."""
    hint_s: float = 0.05
    """Hints to one peer are at least so far apart, and tell all news since the last."""
    period_s: float = 1.0
    """Pause between exchanges of summaries with some peer; at first shorter."""
    call_timeout_s: float = 3.0
    idle_timeout_s: float = 2.0
    """A stream of batches that gives nothing for so long ends."""
    retry_s: float = 0.5
    """Pause before a peer is asked again that gave no good answer; doubles up to ..."""
    retry_silent_s_max: float = 5.0
    """... this where it did not answer or had nothing new, and ..."""
    retry_s_max: float = 60.0
    """... this where it sent what is wrong."""
    served_bytes_per_s: float = 32 << 20
    """Sent to one peer in the long run."""
    queue_batches: int = 32
    """Batches that wait for one slow subscriber; then no more are pulled."""
