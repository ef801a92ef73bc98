"""Finds jobs in the swarm: those that were asked for by id, and all that are offered.

Flow over membership; a job that is found is started and served like one that was submitted here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from node.errors import ConfigError, Unavailable
from node.identity import Verifier
from node.jobs.manifest import SignedManifest, decode_signed_manifest
from node.jobs.scope import Scope
from node.jobs.service import JobService
from node.membership.service import MembershipService
from node.types import JobId

FIND_JOB_S = 1.0
"""Pause between two looks for a job that was asked for by id."""
DISK_RETRY_S = 10.0
"""Pause before a found job is started again where the disk took nothing."""
LOOK_S_MAX = 10.0
"""Longest pause between two looks for any job; a change in the swarm ends it."""
SETTLE_S = 0.2
"""Several changes, one look."""


class JobFinder:
    """Looks for jobs until they are found.

    Args:
        membership: knows who offers what.
        jobs: starts them.
        serve: called with each job that was started.
        verifier: checks manifests.
        warn: takes events: (event, **fields).
    """

    def __init__(
        self,
        membership: MembershipService,
        jobs: JobService,
        serve: Callable[[SignedManifest], Awaitable[None]],
        verifier: Verifier,
        warn: Callable[..., None],
    ) -> None:
        self._membership = membership
        self._jobs = jobs
        self._serve = serve
        self._verifier = verifier
        self._warn = warn
        self._wanted: set[JobId] = set()
        self._changed = asyncio.Event()

    def on_change(self) -> None:
        """Other peers are here, or the same serve other jobs."""
        self._changed.set()

    def want(self, group: Scope, job: JobId) -> None:
        """Find a job and run it; one that is sought or runs already is left alone."""
        if job not in self._wanted and self._jobs.get(job) is None:
            self._wanted.add(job)
            group.create_task(self._find(job), name=f"find-{job.hex()[:8]}")

    async def run_any(self, group: Scope) -> None:
        """Want every job that the swarm offers, until cancelled."""
        while True:
            for job in sorted(await self._membership.list_manifests()):
                self.want(group, job)
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S_MAX):
                    await self._changed.wait()
            await asyncio.sleep(SETTLE_S)

    async def _find(self, job: JobId) -> None:
        while True:
            pause_s = await self._look(job)
            if not pause_s:
                break
            await asyncio.sleep(pause_s)
        self._wanted.discard(job)

    async def _look(self, job: JobId) -> float:
        """Look once, and start what was found; the pause before the next look, 0 after the last."""
        encoded = await self._membership.find_manifest(job)
        if encoded is None:
            return FIND_JOB_S
        signed = decode_signed_manifest(encoded, self._verifier)
        try:
            await self._jobs.start(signed)
        except Unavailable as error:  # the disk takes nothing now
            self._warn("job_waits", job=job.hex(), reason=str(error))
            return DISK_RETRY_S
        except ConfigError as error:
            self._warn("job_not_started", job=job.hex(), reason=str(error))
        else:
            await self._serve(signed)
        return 0.0
