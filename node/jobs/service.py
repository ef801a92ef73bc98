"""All jobs of one node: hands each its messages, starts and stops them, remembers them.

Flow. Methods served: "round/1", "fetch/1", "chain/1", "state/1", "chunks/1", those of audits, and
those of shared memories (docs/protocol.md, "Methods").
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from node.errors import ConfigError, PeerError, Refused
from node.jobs.auditing import Auditing
from node.jobs.auditor import OPENING_METHOD
from node.jobs.courier import FETCH_METHOD, ROUND_METHOD, UNKNOWN_JOB
from node.jobs.deps import RunnerDeps
from node.jobs.manifest import SignedManifest, decode_signed_manifest
from node.jobs.probation import PROBATION_METHOD
from node.jobs.recomputing import (
    OBJECTION_METHOD,
    REQUEST_BYTES,
    ROW_METHOD,
    decode_place,
)
from node.jobs.refuting import ANSWER_METHOD
from node.jobs.runner import JobRunner
from node.jobs.scope import Scope
from node.jobs.seats import APPLY_METHOD
from node.jobs.serving import Shelf
from node.jobs.sync import CHAIN_METHOD, CHUNKS_METHOD, STATE_METHOD
from node.jobs.telling import FINDING_METHOD
from node.ports import Transport
from node.types import JobId, PeerId
from node.wire.admission import APPLICATION_BYTES, decode_signed_application
from node.wire.audit import (
    ANSWER_REQUEST_BYTES,
    FINDING_BYTES,
    OPENING_REQUEST_BYTES,
    Verdict,
    decode_answer_request,
    decode_finding,
    decode_opening_request,
    decode_signed_finding,
)
from node.wire.convert import decode_fetch, decode_round, encode_ack, encode_fetched
from node.wire.convert_ledger import decode_chain_request, decode_state_request
from node.wire.limits import CHUNKS_ASKED_MAX, PAYLOAD_BYTES_MAX
from node.wire.probation import PAST_COMMITMENT_BYTES_MAX, decode_past_commitment

R = TypeVar("R")

MANIFEST_KEY = "manifest/"
ENDED = ("stopped", "failed")
"""States after which a job may be started again."""
JOBS_MAX = 16
"""Jobs that one node runs."""


class JobService:
    """The jobs of one node.

    Args:
        deps: what each runner gets.
        blame: scores a peer that sent what it should not.
    """

    def __init__(self, deps: RunnerDeps, blame: Callable[[PeerId, PeerError], None]) -> None:
        self._deps = deps
        self._blame = blame
        self._runners: dict[JobId, JobRunner] = {}
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
        self._group: Scope | None = None

    @property
    def runners(self) -> Sequence[JobRunner]:
        """All jobs, sorted by id."""
        return [self._runners[job] for job in sorted(self._runners)]

    def get(self, job: JobId) -> JobRunner | None:
        """One job."""
        return self._runners.get(job)

    # Life --------------------------------------------------------------------------------------

    async def run(self, group: Scope) -> None:
        """Serve the methods and take up the jobs that were running before a restart."""
        self._group = group
        self._serve(self._deps.ports.transport)
        for _, data in await self._deps.ports.store.scan(MANIFEST_KEY):
            self._launch(decode_signed_manifest(data, self._deps.verify))

    async def start(self, signed: SignedManifest) -> JobId:
        """Run a job; one that runs already goes on, one that ended here starts again.

        Raises:
            ConfigError: too many jobs.
        """
        job = signed.job_id
        known = self._runners.get(job)
        if known is not None and known.progress.state not in ENDED:
            return job
        running = sum(r.progress.state not in ENDED for r in self._runners.values())
        if running >= JOBS_MAX:
            raise ConfigError(f"this node runs {JOBS_MAX} jobs already; stop one first")
        await self._deps.ports.store.put({MANIFEST_KEY + job.hex(): signed.encode()})
        self._launch(signed)
        return job

    def _launch(self, signed: SignedManifest) -> None:
        assert self._group is not None
        runner = JobRunner(signed, self._deps)
        self._runners[signed.job_id] = runner
        name = f"job-{signed.manifest.job.name}"
        self._tasks[signed.job_id] = self._group.create_task(runner.run(), name=name)

    async def stop(self, job: JobId) -> None:
        """End a job on this node; what it kept stays on disk, and others go on.

        Raises:
            ConfigError: no such job.
        """
        runner, task = self._runners.get(job), self._tasks.get(job)
        if runner is None or task is None:
            raise ConfigError(f"no job {job.hex()} runs here; see `artel job list`")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        runner.progress.state = "stopped"
        runner.progress.reason = "stopped by the operator of this node"
        await self._deps.ports.store.drop([MANIFEST_KEY + job.hex()])

    # Methods -----------------------------------------------------------------------------------

    def _serve(self, transport: Transport) -> None:
        self._deps.memories.serve(transport)
        transport.serve(ROUND_METHOD, self._on_round, request_bytes_max=PAYLOAD_BYTES_MAX)
        transport.serve(FETCH_METHOD, self._on_fetch, request_bytes_max=4096)
        transport.serve(CHAIN_METHOD, self._on_chain, request_bytes_max=128)
        transport.serve(STATE_METHOD, self._on_state, request_bytes_max=128)
        transport.serve_stream(
            CHUNKS_METHOD, self._on_chunks, request_bytes_max=8 * CHUNKS_ASKED_MAX
        )
        transport.serve_stream(
            OPENING_METHOD,
            self._on_opening,
            request_bytes_max=OPENING_REQUEST_BYTES,
            concurrent_max=2,
        )
        transport.serve(FINDING_METHOD, self._on_finding, request_bytes_max=FINDING_BYTES)
        transport.serve(ANSWER_METHOD, self._on_answer, request_bytes_max=ANSWER_REQUEST_BYTES)
        transport.serve(ROW_METHOD, self._on_row, request_bytes_max=REQUEST_BYTES)
        transport.serve(OBJECTION_METHOD, self._on_objection, request_bytes_max=REQUEST_BYTES)
        transport.serve(APPLY_METHOD, self._on_application, request_bytes_max=APPLICATION_BYTES)
        most = PAST_COMMITMENT_BYTES_MAX
        transport.serve(PROBATION_METHOD, self._on_probation, request_bytes_max=most)

    def _runner(self, job: JobId, peer: PeerId) -> JobRunner:
        """The job that a peer calls for."""
        runner = self._runners.get(job)
        if runner is None:
            raise Refused(UNKNOWN_JOB)
        if peer in self._deps.proofs.judged(job):
            raise Refused("banned: a judgement on this key's work is held here", peer)
        return runner

    def _shelf(self, job: JobId, peer: PeerId) -> Shelf:
        replica = self._runner(job, peer).replica
        if replica is None:
            raise Refused("the job is still starting here")
        return replica.shelf

    async def _on_round(self, peer: PeerId, request: bytes) -> bytes:
        try:
            message = decode_round(request)
            runner = self._runner(message.job, peer)
            return encode_ack(runner.on_message(peer, message, len(request)))
        except PeerError as error:
            if not isinstance(error, Refused):
                self._blame(peer, error)
            raise

    async def _on_fetch(self, peer: PeerId, request: bytes) -> bytes:
        wanted = self._decoded(peer, decode_fetch, request)
        return encode_fetched(self._runner(wanted.job, peer).on_fetch(peer, wanted))

    async def _on_chain(self, peer: PeerId, request: bytes) -> bytes:
        wanted = self._decoded(peer, decode_chain_request, request)
        shelf = self._shelf(wanted.job, peer)
        return await shelf.chain(wanted)

    async def _on_state(self, peer: PeerId, request: bytes) -> bytes:
        wanted = self._decoded(peer, decode_state_request, request)
        shelf = self._shelf(wanted.job, peer)
        return await shelf.hashes(wanted)

    async def _on_chunks(self, peer: PeerId, request: bytes) -> AsyncIterator[bytes]:
        wanted = self._decoded(peer, decode_state_request, request)
        shelf = self._shelf(wanted.job, peer)
        async for chunk in shelf.chunks(wanted):
            yield chunk

    def _auditing(self, job: JobId, peer: PeerId) -> Auditing:
        auditing = self._runner(job, peer).auditing
        if auditing is None:
            raise Refused("the job is still starting here")
        return auditing

    async def _on_opening(self, peer: PeerId, request: bytes) -> AsyncIterator[bytes]:
        job, round_ = self._decoded(peer, decode_opening_request, request)
        async for chunk in self._auditing(job, peer).opening(peer, round_):
            yield chunk

    async def _on_finding(self, peer: PeerId, request: bytes) -> bytes:
        signed = self._decoded(peer, decode_signed_finding, request)
        if self._decoded(peer, decode_finding, signed.body).verdict is Verdict.FALSE_ANSWER:
            runner = self._runner(signed.job, peer)
            refuting, certified = runner.recomputing.refuting, runner.head.round
            self._blaming(peer, lambda: refuting.on_finding(peer, signed, certified))
            return b""
        auditing = self._auditing(signed.job, peer)
        self._blaming(peer, lambda: auditing.on_finding(peer, signed))
        return b""

    async def _on_application(self, peer: PeerId, request: bytes) -> bytes:
        signed = self._decoded(peer, decode_signed_application, request)
        runner = self._runner(signed.job, peer)
        self._blaming(peer, lambda: runner.newcomers.take_application(peer, signed, runner.head))
        return b""

    async def _on_probation(self, peer: PeerId, request: bytes) -> bytes:
        signed = self._decoded(peer, decode_past_commitment, request)
        runner = self._runner(signed.job, peer)
        self._blaming(peer, lambda: runner.newcomers.take_contribution(peer, signed, runner.head))
        return b""

    def _blaming(self, peer: PeerId, take: Callable[[], None]) -> None:
        """Take what a peer sent; it is scored for what it should not send."""
        try:
            take()
        except PeerError as error:
            if not isinstance(error, Refused):
                self._blame(peer, error)
            raise

    async def _on_answer(self, peer: PeerId, request: bytes) -> bytes:
        job, round_, id_ = self._decoded(peer, decode_answer_request, request)
        return self._runner(job, peer).recomputing.refuting.answer(peer, round_, id_)

    async def _on_row(self, peer: PeerId, request: bytes) -> bytes:
        job, round_, part = self._decoded(peer, decode_place, request)
        return self._runner(job, peer).recomputing.row(peer, round_, part)

    async def _on_objection(self, peer: PeerId, request: bytes) -> bytes:
        job, round_, part = self._decoded(peer, decode_place, request)
        self._runner(job, peer).recomputing.on_objection(peer, round_, part)
        return b""

    def _decoded(self, peer: PeerId, decode: Callable[[bytes], R], request: bytes) -> R:
        try:
            return decode(request)
        except PeerError as error:
            self._blame(peer, error)
            raise
