"""Newly accepted batches for consumers, in the order of each author's chain.

Flow. A consumer that is slow slows the pull: while one has ``size`` changes waiting, no more are
asked for. What is under way by then still comes, so a queue holds at most that and, of every open
request, one group or one jump.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from node.memory.batch import entries_of
from node.types import PeerId
from node.wire.memory_messages import Batch
from workloads.api import Entries


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one author's part of the memory."""

    author: PeerId
    batch: Batch | None
    """A batch that was taken in; None: the author forked, and all of it is gone."""
    first_kept: int
    """Entries of the author below this index are evicted. After a fork: all are."""

    @property
    def entries(self) -> Entries:
        """The batch's columns: read-only views."""
        assert self.batch is not None
        return entries_of(self.batch)

    @property
    def first_entry(self) -> int:
        """Index of the batch's first entry among all of its author's."""
        assert self.batch is not None
        return self.batch.header.first_entry


class Subscription:
    """One consumer's queue. ``next`` waits; ``close`` gives it up."""

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        self._changes: deque[Change] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._changes)

    def push(self, change: Change) -> None:
        """Add a change."""
        self._changes.append(change)
        self._some.set()

    async def next(self) -> Change:
        """The oldest change, when there is one."""
        while not self._changes:
            self._some.clear()
            await self._some.wait()
        change = self._changes.popleft()
        self._feed.look()
        return change

    def close(self) -> None:
        """Take no more: nobody waits for this consumer from now on; idempotent."""
        self._changes.clear()
        self._feed.drop(self)


class Feed:
    """All subscriptions.

    Args:
        size: changes that may wait for one consumer before the pull pauses.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._subscriptions: list[Subscription] = []
        self._room = asyncio.Event()
        self._room.set()

    @property
    def waiting(self) -> int:
        """Changes that the slowest consumer has not taken."""
        return max((len(each) for each in self._subscriptions), default=0)

    def open(self) -> Subscription:
        """A queue of everything from now on."""
        self._subscriptions.append(Subscription(self))
        return self._subscriptions[-1]

    def drop(self, subscription: Subscription) -> None:
        """Forget a consumer."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        self.look()

    def push(self, change: Change) -> None:
        """Tell every consumer."""
        for each in self._subscriptions:
            each.push(change)
        self.look()

    def look(self) -> None:
        """See whether there is room again."""
        if self.waiting < self._size:
            self._room.set()
        else:
            self._room.clear()

    async def room(self) -> None:
        """Wait until every consumer has room."""
        await self._room.wait()
