"""Questions of a job's worker to those of other nodes, and theirs to it.

Flow over the ``Worker`` port and one method: docs/protocol.md, "Inquiries". What is asked and
answered are bytes that only workloads understand. Nobody waits for an answer but the next question.
"""

import asyncio
from collections.abc import Callable, Sequence

from node.errors import PeerError, Refused, Unavailable, WorkerFailed
from node.memory.bucket import Bucket
from node.memory.methods import INQUIRE_METHOD
from node.ports import InquireRequest, Transport, Worker
from node.types import JobId, PeerId
from node.wire.convert_memory import encode_question
from node.wire.limits import ANSWER_BYTES_MAX
from node.wire.memory_messages import Question

PAUSE_S = 0.5
"""Between two looks whether there is a question, and after one that nobody answered."""
ANSWER_S = 20.0
"""Longest wait for an answer: the other's worker may be in the middle of a round."""
RETRY_S = 60.0
"""A peer that gave none is not asked for so long, so that the silent do not slow everybody down."""
CALLS_PER_S, CALLS_BURST = 10.0, 40.0
"""Questions of one peer that are answered."""


class Inquiring:
    """The inquiries of one job on one node.

    Args:
        transport: the node's.
        job: whose.
        own: this node.
        founders: who is asked, and who may ask.
        worker: the job's.
        on_blame: scores a peer.
    """

    def __init__(
        self,
        transport: Transport,
        job: JobId,
        own: PeerId,
        founders: Sequence[PeerId],
        worker: Worker,
        on_blame: Callable[[PeerId, PeerError], None],
    ) -> None:
        self.job = job
        self._transport = transport
        self._own = own
        self._founders = tuple(founders)
        self._worker = worker
        self._on_blame = on_blame
        self._buckets: dict[PeerId, Bucket] = {}
        self._silent_until_s: dict[PeerId, float] = {}

    async def meet(self) -> None:
        """Tell the worker who takes part; before anything arrives."""
        await self._worker.inquire(InquireRequest(own=self._own, founders=self._founders))

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        answers: list[bytes] = []
        while True:
            question = await self._worker.inquire(InquireRequest(answers=answers))
            answers = []
            if question:
                data = encode_question(Question(self.job, question))
                asked = [
                    peer
                    for peer in self._founders
                    if peer != self._own and self._silent_until_s.get(peer, 0.0) <= loop.time()
                ]
                heard = await asyncio.gather(*(self._ask(peer, data) for peer in asked))
                answers = [answer for answer in heard if answer]
            if not answers:
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, peer: PeerId, data: bytes) -> bytes:
        """A peer's answer; empty if it gave none."""
        try:
            return await self._transport.call(
                peer, INQUIRE_METHOD, data, timeout_s=ANSWER_S, reply_bytes_max=ANSWER_BYTES_MAX
            )
        except (Unavailable, Refused):
            pass
        except PeerError as error:
            self._on_blame(peer, error)
        self._silent_until_s[peer] = asyncio.get_running_loop().time() + RETRY_S
        return b""

    async def answer(self, caller: PeerId, question: bytes) -> bytes:
        """What this node's worker says to another's question.

        Raises:
            Refused: the caller asks too often or does not take part, or there is no answer.
        """
        if caller not in self._founders:
            raise Refused("only founders are answered", caller)
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.setdefault(caller, Bucket(CALLS_PER_S, CALLS_BURST, now))
        if bucket.level(now) < 1:
            raise Refused("asked too often", caller)
        bucket.take(1, now)
        try:
            answer = await self._worker.inquire(InquireRequest(question=question))
        except WorkerFailed as error:
            raise Refused("the job ends here", caller) from error
        if not answer or len(answer) > ANSWER_BYTES_MAX:
            raise Refused("no answer", caller)
        return answer
