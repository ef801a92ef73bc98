"""Job manifests in the swarm: published in the DHT where they fit, and asked from who serves them.

Implements docs/protocol.md, "Jobs". What a manifest is, is not known here: ``manifest_id`` checks
one and gives its job id. Anybody may overwrite a DHT entry with garbage, so that peers which serve
a job are asked too.
"""

from collections.abc import Callable, Mapping

from node.errors import ConfigError, Malformed, PeerError, Refused, Unavailable
from node.membership.record import JOBS_MAX
from node.membership.view import View
from node.ports import RECORD_BYTES_MAX, Discovery, Transport, WallClock
from node.types import DIGEST_BYTES, JobId, PeerId

METHOD = "manifest/1"
MANIFEST_REPLY_BYTES_MAX = 72 * 1024
"""Largest reply to ``manifest/1``: a signed manifest, or nothing."""
MANIFEST_TTL_S = 1800.0
"""Life of a manifest in the DHT; its servers put it again with every announcement."""
LISTED_JOBS_MAX = 256
"""Manifests that are looked at in one listing."""
ASKED_PEERS_MAX = 3
"""Peers that are asked for one manifest before giving up."""

ManifestId = Callable[[bytes], JobId]
"""Checks an encoded SignedManifest (peer input) and gives its job id; raises PeerError."""


class ManifestBoard:
    """The jobs that this node serves, and those of others.

    Args:
        swarm: Name of the swarm.
        view: The peer table, to ask peers and to blame them.
        manifest_id: Checks a manifest.
    """

    def __init__(
        self,
        swarm: str,
        view: View,
        transport: Transport,
        discovery: Discovery,
        clock: WallClock,
        manifest_id: ManifestId,
        call_timeout_s: float,
    ) -> None:
        self._key = f"artel/{swarm}/jobs"
        self._view = view
        self._transport = transport
        self._discovery = discovery
        self._clock = clock
        self._manifest_id = manifest_id
        self._call_timeout_s = call_timeout_s
        self._served: dict[JobId, bytes] = {}

    @property
    def served(self) -> tuple[JobId, ...]:
        """Ids of the jobs that this node serves, sorted."""
        return tuple(sorted(self._served))

    def add(self, encoded: bytes) -> JobId:
        """Serve a manifest from now on.

        Raises:
            ConfigError: more than JOBS_MAX jobs.
            PeerError: it does not check.
        """
        job = self._manifest_id(encoded)
        if len(self._served) >= JOBS_MAX and job not in self._served:
            raise ConfigError(f"a node serves at most {JOBS_MAX} jobs")
        self._served[job] = encoded
        return job

    def remove(self, job: JobId) -> None:
        """Stop serving; a job that is not served is ignored."""
        self._served.pop(job, None)

    def serve(self) -> None:
        """Answer peers that ask for a manifest."""
        self._transport.serve(METHOD, self._on_ask, request_bytes_max=DIGEST_BYTES)

    async def _on_ask(self, caller: PeerId, request: bytes) -> bytes:
        if len(request) != DIGEST_BYTES:
            self._view.blame(caller, Malformed.reason, self._clock.unix_s())
            raise Malformed(f"a job id has {DIGEST_BYTES} bytes", caller)
        return self._served.get(JobId(request), b"")

    async def put_all(self) -> None:
        """Put every served manifest that fits into the DHT."""
        expires_unix_s = self._clock.unix_s() + MANIFEST_TTL_S
        for job, encoded in sorted(self._served.items()):
            if len(encoded) <= RECORD_BYTES_MAX:
                await self._discovery.put(self._key, job.hex(), encoded, expires_unix_s)

    async def find(self, job: JobId) -> bytes | None:
        """The checked, encoded SignedManifest of ``job``; None if nobody gives one now."""
        if job in self._served:
            return self._served[job]
        listed = await self._listed()
        return listed[job] if job in listed else await self._ask(job)

    async def list_all(self) -> Mapping[JobId, bytes]:
        """All manifests that the swarm offers now, checked, by job id."""
        found = {**await self._listed(), **self._served}
        offered = {job for record in self._view.usable(self._clock.unix_s()) for job in record.jobs}
        for job in sorted(offered - found.keys())[:LISTED_JOBS_MAX]:
            encoded = await self._ask(job)
            if encoded is not None:
                found[job] = encoded
        return dict(sorted(found.items()))

    async def _listed(self) -> dict[JobId, bytes]:
        found: dict[JobId, bytes] = {}
        try:
            records = await self._discovery.get(self._key)
        except Unavailable:
            return found
        for record in records[:LISTED_JOBS_MAX]:
            try:
                job = self._manifest_id(record.value)
            except PeerError:
                continue  # Whoever wrote it: the DHT does not tell.
            if job.hex() == record.subkey:
                found[job] = record.value
        return found

    async def _ask(self, job: JobId) -> bytes | None:
        for peer in self._view.serving(job, self._clock.unix_s())[:ASKED_PEERS_MAX]:
            try:
                encoded = await self._transport.call(
                    peer,
                    METHOD,
                    job,
                    timeout_s=self._call_timeout_s,
                    reply_bytes_max=MANIFEST_REPLY_BYTES_MAX,
                )
                if not encoded:
                    continue
                if self._manifest_id(encoded) != job:
                    raise Malformed("a manifest of another job", peer)
            except (Unavailable, Refused):
                self._view.called(peer, False, self._clock.unix_s())
            except PeerError as error:
                self._view.blame(peer, error.reason, self._clock.unix_s())
            else:
                return encoded
        return None
