"""The methods of shared memories: each call goes to the memory, or the workload, of its job.

Flow. A request that does not decode is scored; one for a job that has no memory here is refused.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from node.errors import ConfigError, PeerError, Refused
from node.memory.peers import METHOD as MEMORY_METHOD
from node.memory.pulling import METHOD as BATCHES_METHOD
from node.memory.service import MemoryService
from node.ports import Transport
from node.types import JobId, PeerId
from node.wire.convert_memory import (
    decode_batches_request,
    decode_memory_request,
    decode_question,
)
from node.wire.limits import (
    BATCHES_REQUEST_BYTES_MAX,
    MEMORY_LINES_BYTES_MAX,
    QUESTION_REQUEST_BYTES_MAX,
)

R = TypeVar("R")
Answerer = Callable[[PeerId, bytes], Awaitable[bytes]]
"""(caller, what its workload asks) -> what ours answers; may raise ``Refused``."""

INQUIRE_METHOD = "inquire/1"
INQUIRIES_MAX = 8
"""Questions that wait for the workloads at once."""


class MemoryMethods:
    """Serves the memories of all jobs of a node.

    Args:
        on_blame: scores a peer.
    """

    def __init__(self, on_blame: Callable[[PeerId, PeerError], None]) -> None:
        self._on_blame = on_blame
        self._services: dict[JobId, MemoryService] = {}
        self._answers: dict[JobId, Answerer] = {}

    def serve(self, transport: Transport) -> None:
        """Answer all three methods from now on."""
        transport.serve(MEMORY_METHOD, self._on_memory, request_bytes_max=MEMORY_LINES_BYTES_MAX)
        transport.serve_stream(
            BATCHES_METHOD, self._on_batches, request_bytes_max=BATCHES_REQUEST_BYTES_MAX
        )

        transport.serve(
            INQUIRE_METHOD,
            self._on_inquire,
            request_bytes_max=QUESTION_REQUEST_BYTES_MAX,
            concurrent_max=INQUIRIES_MAX,
        )

    def add(self, service: MemoryService) -> None:
        """Answer for a job.

        Raises:
            ConfigError: its memory is served already.
        """
        if service.job in self._services:
            raise ConfigError(f"the memory of job {service.job.hex()} is served already")
        self._services[service.job] = service

    def remove(self, job: JobId) -> None:
        """Answer for a job no more."""
        self._services.pop(job, None)
        self._answers.pop(job, None)

    def add_answers(self, job: JobId, answer: Answerer) -> None:
        """Answer what the workloads of other nodes ask that of a job."""
        self._answers[job] = answer

    async def _on_memory(self, caller: PeerId, data: bytes) -> bytes:
        request = self._decoded(caller, decode_memory_request, data)
        return self._service(request.job).serving.summary(caller, request)

    async def _on_batches(self, caller: PeerId, data: bytes) -> AsyncIterator[bytes]:
        request = self._decoded(caller, decode_batches_request, data)
        async for chunk in self._service(request.job).serving.batches(caller, request):
            yield chunk

    async def _on_inquire(self, caller: PeerId, data: bytes) -> bytes:
        question = self._decoded(caller, decode_question, data)
        answer = self._answers.get(question.job)
        if answer is None:
            raise Refused("nothing is answered for this job here")
        return await answer(caller, question.body)

    def _service(self, job: JobId) -> MemoryService:
        service = self._services.get(job)
        if service is None or not service.loaded.is_set():
            raise Refused("no memory of this job is held here")
        return service

    def _decoded(self, caller: PeerId, decode: Callable[[bytes], R], data: bytes) -> R:
        try:
            return decode(data)
        except PeerError as error:
            self._on_blame(caller, error)
            raise
