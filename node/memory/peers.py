"""Keeping up with the peers of a job: hints when there is news, summaries now and then, pulls.

Flow. Each peer has a task that hints and one that pulls, so that none waits for another. Own news
is told to many peers, passed-on news to few; a summary exchanged with a random peer finds the rest.
Implements docs/protocol.md, "Telling" and "Asking for batches".
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from node.errors import PeerError, Refused, Unavailable
from node.ledger.forks import check_fork
from node.memory.config import MemoryPace
from node.memory.holding import Holding
from node.memory.planning import PeerState, Planner
from node.memory.pulling import Puller
from node.ports import Transport
from node.types import PeerId
from node.wire.convert_memory import decode_memory_reply, encode_memory_request
from node.wire.limits import MEMORY_REPLY_BYTES_MAX
from node.wire.memory_messages import MemoryLine, MemoryRequest

METHOD = "memory/1"
PEERS_MAX = 128
"""Peers of a job that are kept up with; the first by id."""
PULLS_MAX = 8
"""Requests for batches that are open at the same time."""
HINTED_MAX = 16
"""Peers that are told at once of own batches."""
RELAYED_MAX = 2
"""Peers that are told at once of batches of others."""
QUICK_S = 0.1
"""Pause between summaries at first; then each is 1.5 times the last."""


@dataclass
class _Peer:
    peer: PeerId
    state: PeerState = field(default_factory=PeerState)
    dirty: dict[PeerId, None] = field(default_factory=dict)
    """Authors of whom it has not been told the latest."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    curious: bool = False
    """It marks an author as forked that is not known as such here: ask for the evidence."""
    asking: bool = False
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


class PeerTasks:
    """All that goes on with peers.

    Args:
        own: our id.
        holding: what is held.
        transport: calls.
        peers: nodes of the job now.
        rng: draws partners.
        pace: pauses and rates.
        on_blame: scores a peer.
    """

    def __init__(
        self,
        own: PeerId,
        holding: Holding,
        transport: Transport,
        peers: Callable[[], Sequence[PeerId]],
        rng: np.random.Generator,
        pace: MemoryPace,
        on_blame: Callable[[PeerId, PeerError], None],
    ) -> None:
        self._own = own
        self._holding = holding
        self._transport = transport
        self._now_peers = peers
        self._rng = rng
        self._pace = pace
        self._on_blame = on_blame
        self._planner = Planner(holding.set, pace, asyncio.get_running_loop().time())
        self._puller = Puller(holding, self._planner, transport, pace, on_blame)
        self._peers: dict[PeerId, _Peer] = {}
        self._pulls = asyncio.Semaphore(PULLS_MAX)

    async def run(self) -> None:
        """Work until cancelled."""
        self._holding.on_news = self._tell
        async with asyncio.TaskGroup() as group:
            for pause_s in self._pauses():
                self._refresh(group)
                self._exchange_with_one(group)
                await asyncio.sleep(pause_s * self._rng.uniform(0.8, 1.2))

    @property
    def lag(self) -> int:
        """Entries that peers say to hold and that are not held here."""
        return self._planner.lag(
            [line for peer in self._peers.values() for line in peer.state.lines.values()]
        )

    def hear(self, peer: PeerId, lines: Sequence[MemoryLine]) -> None:
        """Take what a peer told of itself; others than peers of the job are not asked."""
        entry = self._peers.get(peer)
        if entry is not None:
            entry.state.hear(lines)
            entry.wake.set()
            if self._accuses(lines):
                entry.curious = True
                entry.news.set()

    def _accuses(self, lines: Iterable[MemoryLine]) -> bool:
        """Do they mark an author as forked of whom there is no evidence here?"""
        held = self._holding.set
        return any(line.forked and not held.chain(line.author).is_forked for line in lines)

    def _pauses(self) -> Iterator[float]:
        pause_s = min(QUICK_S, self._pace.period_s)
        while True:
            yield pause_s
            pause_s = min(pause_s * 1.5, self._pace.period_s)

    def _refresh(self, group: asyncio.TaskGroup) -> None:
        """Start with new peers, stop with those that are gone."""
        now = [peer for peer in sorted(set(self._now_peers())) if peer != self._own][:PEERS_MAX]
        for peer in [peer for peer in self._peers if peer not in now]:
            for task in self._peers.pop(peer).tasks:
                task.cancel()
        for peer in now:
            if peer not in self._peers:
                entry = self._peers[peer] = _Peer(peer)
                entry.tasks = [
                    group.create_task(self._run_hints(entry), name="memory-hints"),
                    group.create_task(self._run_pulls(entry), name="memory-pulls"),
                    group.create_task(self._exchange(entry), name="memory-summary"),
                ]

    # Telling -----------------------------------------------------------------------------------

    def _tell(self, author: PeerId) -> None:
        """There is news of ``author`` here."""
        line = self._holding.set.chain(author).line
        lacking = [
            entry
            for entry in self._peers.values()
            if not _knows(entry.state.lines.get(author), line)
        ]
        most = HINTED_MAX if author == self._own or line.forked else RELAYED_MAX
        if len(lacking) > most:
            lacking = [lacking[i] for i in sorted(self._rng.permutation(len(lacking))[:most])]
        for entry in lacking:
            entry.dirty[author] = None
            entry.news.set()

    async def _run_hints(self, entry: _Peer) -> None:
        while True:
            await entry.news.wait()
            entry.news.clear()
            if entry.curious and not entry.asking:
                await self._exchange(entry)
                entry.curious = False
                if self._accuses(entry.state.lines.values()):
                    await asyncio.sleep(self._pace.retry_s)  # words, and no evidence
            chains = [self._holding.set.chain(author) for author in sorted(entry.dirty)]
            entry.dirty.clear()
            lines = tuple(
                chain.line
                for chain in chains
                if not _knows(entry.state.lines.get(chain.author), chain.line)
            )
            if lines:
                await self._call(entry, MemoryRequest(self._holding.job, lines, hint=True))
                await asyncio.sleep(self._pace.hint_s)

    # Summaries ---------------------------------------------------------------------------------

    def _exchange_with_one(self, group: asyncio.TaskGroup) -> None:
        idle = [entry for entry in self._peers.values() if not entry.asking]
        if idle:
            entry = idle[int(self._rng.integers(len(idle)))]
            entry.tasks = [task for task in entry.tasks if not task.done()]
            entry.tasks.append(group.create_task(self._exchange(entry), name="memory-summary"))

    async def _exchange(self, entry: _Peer) -> None:
        if entry.asking:
            return
        entry.asking = True
        try:
            lines = tuple(self._holding.set.lines())
            reply = await self._call(entry, MemoryRequest(self._holding.job, lines))
            if reply is not None:
                await self._read_reply(entry, reply)
        finally:
            entry.asking = False

    async def _read_reply(self, entry: _Peer, data: bytes) -> None:
        held = self._holding.set
        try:
            reply = decode_memory_reply(data)
            for evidence in reply.evidence:
                if evidence.author not in held or held.chain(evidence.author).is_forked:
                    continue
                check_fork(evidence, self._holding.job, self._holding.verify)
                await self._puller.fork(evidence)
        except PeerError as error:
            self._on_blame(entry.peer, error)
            return
        except Unavailable:
            return  # The disk takes nothing now: the next summary brings it again.
        self.hear(entry.peer, [line for line in reply.lines if line.author in held])

    async def _call(self, entry: _Peer, request: MemoryRequest) -> bytes | None:
        try:
            return await self._transport.call(
                entry.peer,
                METHOD,
                encode_memory_request(request),
                timeout_s=self._pace.call_timeout_s,
                reply_bytes_max=MEMORY_REPLY_BYTES_MAX,
            )
        except (Unavailable, Refused):
            return None
        except PeerError as error:
            self._on_blame(entry.peer, error)
            return None

    # Pulls -------------------------------------------------------------------------------------

    async def _run_pulls(self, entry: _Peer) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._pulls:
                await self._holding.feed.room()
                entry.wake.clear()
                plan = self._planner.plan(entry.peer, entry.state, loop.time())
                if plan.wants:
                    await self._puller.pull(entry.peer, entry.state, plan.wants)
            if plan.wants:
                self._wake_others(entry, [want.author for want in plan.wants])
                continue
            try:
                async with asyncio.timeout(plan.wait_s):
                    await entry.wake.wait()
            except TimeoutError:
                continue

    def _wake_others(self, but: _Peer, authors: Sequence[PeerId]) -> None:
        """These authors are free again: another peer that has more of them may be asked."""
        following = [(author, self._holding.set.chain(author).next) for author in authors]
        for entry in self._peers.values():
            lines = entry.state.lines
            if entry is not but and any(
                (line := lines.get(author)) is not None and line.next > held
                for author, held in following
            ):
                entry.wake.set()


def _knows(told: MemoryLine | None, line: MemoryLine) -> bool:
    """Does a peer that told ``told`` gain nothing by hearing ``line``?"""
    if told is None:
        return not (line.next or line.forked)
    return told.forked or (told.next >= line.next and not line.forked)
