"""What one job's memory answers to peers: what is held, evidence, and batches.

Flow. Anybody may ask, as with certificates: what is served verifies by itself. How much one peer
is sent in the long run is limited, and how many streams it has open.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from node.errors import Refused
from node.memory.bucket import Bucket
from node.memory.config import MemoryPace
from node.memory.holding import Holding
from node.types import PeerId
from node.wire.convert_memory import encode_memory_reply
from node.wire.memory_messages import BatchesRequest, MemoryLine, MemoryReply, MemoryRequest

OPEN_MAX = 2
"""Streams of batches that one peer may have open."""
CALLERS_MAX = 256
"""Peers whose use is remembered."""
CALLS_PER_S = 40.0
CALLS_BURST = 200.0
SLICE_BYTES = 256 * 1024
"""Sent of one author before the next one's turn, where several are asked for."""


class _Use:
    """What one peer used."""

    def __init__(self, pace: MemoryPace, burst_bytes: float, now: float) -> None:
        self.calls = Bucket(CALLS_PER_S, CALLS_BURST, now)
        self.bytes = Bucket(pace.served_bytes_per_s, burst_bytes, now)
        self.open = 0


@dataclass
class _Turn:
    """How far one want is served."""

    author: PeerId
    seq: int
    left: int
    begun: bool = False


class Serving:
    """Answers for one job.

    Args:
        holding: what is held.
        pace: rates.
    """

    def __init__(self, holding: Holding, pace: MemoryPace) -> None:
        self._holding = holding
        self._pace = pace
        self._uses: OrderedDict[PeerId, _Use] = OrderedDict()
        self.on_heard: Callable[[PeerId, Sequence[MemoryLine]], None] = lambda peer, lines: None
        """Called with what a caller told of itself."""

    def summary(self, caller: PeerId, request: MemoryRequest) -> bytes:
        """Reply of "memory/1".

        Raises:
            Refused: the caller asks too often.
        """
        now = asyncio.get_running_loop().time()
        use = self._use(caller, now)
        if use.calls.level(now) < 1:
            raise Refused("asked too often", caller)
        use.calls.take(1, now)
        held = self._holding.set
        known = {line.author: line for line in request.lines if line.author in held}
        self.on_heard(caller, list(known.values()))
        if request.hint:
            return b""
        evidence = [
            proof
            for proof in held.evidence()
            if not ((line := known.get(proof.author)) and line.forked)
        ]
        return encode_memory_reply(MemoryReply(tuple(held.lines()), tuple(evidence)))

    async def batches(self, caller: PeerId, request: BatchesRequest) -> AsyncIterator[bytes]:
        """Chunks of "batches/1".

        Raises:
            Refused: the caller has too much open, or was sent too much lately.
        """
        now = asyncio.get_running_loop().time()
        use = self._use(caller, now)
        if use.open >= OPEN_MAX or use.bytes.level(now) <= 0:
            raise Refused("busy", caller)
        use.open += 1
        try:
            async for chunk in self._chunks(request):
                use.bytes.take(len(chunk), asyncio.get_running_loop().time())
                yield chunk
        finally:
            use.open -= 1

    async def _chunks(self, request: BatchesRequest) -> AsyncIterator[bytes]:
        held = self._holding.set
        turns = [
            _Turn(w.author, max(w.from_seq, held.chain(w.author).start), w.bytes_max)
            for w in request.wants
            if w.author in held
        ]
        while turns:
            for turn in list(turns):
                sent = 0
                while sent < SLICE_BYTES:
                    data = await self._holding.log.read(turn.author, turn.seq)
                    chain = held.chain(turn.author)
                    # Durable but not added yet, or of a chain that was dropped: not to be shown.
                    is_held = chain.at(turn.seq) is not None
                    is_over = data is not None and turn.begun and len(data) > turn.left
                    if data is None or not is_held or is_over:
                        turns.remove(turn)
                        break
                    turn.begun = True
                    turn.seq += 1
                    turn.left -= len(data)
                    sent += len(data)
                    yield data

    def _use(self, caller: PeerId, now: float) -> _Use:
        use = self._uses.get(caller)
        if use is None:
            burst = 2.0 * max(self._holding.set.bytes, self._pace.served_bytes_per_s)
            use = self._uses[caller] = _Use(self._pace, burst, now)
            while len(self._uses) > CALLERS_MAX:
                self._uses.popitem(last=False)
        self._uses.move_to_end(caller)
        return use
