"""The evidence that a node holds: one piece a key, on disk, for good.

Flow over the store. A proof that stands alone holds whatever the job: a node answers no call of who
is convicted by it (``Gate``). A judgement holds in its job alone, since it is worth what that job's
electorate is: strangers may found a job in which they judge whom they like. Electors leave their
jobs by decision. docs/protocol.md, "Evidence".
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

from node.errors import PeerError, Refused
from node.identity import Verifier
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused_peer, offender
from node.ports import Handler, Store, StreamHandler, Transport
from node.types import JobId, PeerId
from node.wire.convert import decode_evidence, encode_evidence
from node.wire.messages import Evidence, Judgement

PREFIX = "evidence/"
HELD_MAX = 1024
"""Keys of which evidence is kept; they were electors of jobs here, so there are far fewer."""


class Proofs:
    """What is held.

    Args:
        store: the node's disk.
        verify: checks what the disk gives back.
        on_new: told of each convicted peer, at the start too.
    """

    def __init__(
        self, store: Store, verify: Verifier, on_new: Callable[[PeerId, Evidence], None]
    ) -> None:
        self._store = store
        self._verify = verify
        self._on_new = on_new
        self._held: dict[PeerId, Evidence] = {}
        self._judged: dict[JobId, dict[PeerId, Judgement]] = {}

    @property
    def held(self) -> Mapping[PeerId, Evidence]:
        """Peer -> the proof against it, whatever the job."""
        return self._held

    def judged(self, job: JobId) -> Mapping[PeerId, Judgement]:
        """Peer -> the judgement on its work in a job."""
        return self._judged.get(job, {})

    def all(self) -> Mapping[PeerId, Sequence[Evidence]]:
        """Peer -> all that is held against it; what stands alone first."""
        found: dict[PeerId, list[Evidence]] = {peer: [e] for peer, e in self._held.items()}
        for _, judged in sorted(self._judged.items()):
            for peer, judgement in judged.items():
                found.setdefault(peer, []).append(judgement)
        return found

    async def load(self) -> None:
        """Read what is on disk; what a faulty disk changed convicts nobody."""
        for _, data in await self._store.scan(PREFIX):
            try:
                evidence = decode_evidence(data)
                # Judgements were checked against their electors before they came here.
                offender(evidence, self._verify, partial(_signers, evidence))
            except PeerError:
                continue
            self._hold(evidence)

    async def add(self, evidence: Evidence) -> None:
        """Keep evidence that was checked; durable when it returns. A second piece is not kept.

        Raises:
            Unavailable: the disk takes nothing.
        """
        peer, count = accused_peer(evidence), len(self._held) + sum(map(len, self._judged.values()))
        if self._is_new(evidence) and count < HELD_MAX:
            at = f"/{evidence.first.job.hex()}" if isinstance(evidence, Judgement) else ""
            await self._store.put({PREFIX + peer + at: encode_evidence(evidence)})
            self._hold(evidence)

    def against(self, electorate: Electorate, job: JobId) -> dict[int, Evidence]:
        """Elector of a job -> a proof that holds against it there."""
        held = {**self.judged(job), **self._held}
        found = ((e, held.get(peer)) for e, peer in enumerate(electorate.ids))
        return {elector: evidence for elector, evidence in found if evidence is not None}

    def _is_new(self, evidence: Evidence) -> bool:
        held: Mapping[PeerId, Evidence] = self._held
        if isinstance(evidence, Judgement):
            held = self.judged(evidence.first.job)
        return accused_peer(evidence) not in held

    def _hold(self, evidence: Evidence) -> None:
        if self._is_new(evidence):
            peer = accused_peer(evidence)
            if isinstance(evidence, Judgement):
                self._judged.setdefault(evidence.first.job, {})[peer] = evidence
            else:
                self._held[peer] = evidence
            self._on_new(peer, evidence)


def _signers(evidence: Evidence, job: JobId, round_: int) -> Electorate | None:
    """Everybody who speaks in a judgement, in place of the electors of its round."""
    if not isinstance(evidence, Judgement):
        return None
    return Electorate.of(s.signer for s in (evidence.first, *evidence.findings))


class Gate:
    """A transport that refuses all calls of convicted peers. Calls to them go out.

    Args:
        inner: the transport itself.
        convicted: who is kept out; it grows.
    """

    def __init__(self, inner: Transport, convicted: Mapping[PeerId, object]) -> None:
        self._inner = inner
        self._convicted = convicted

    def _check(self, caller: PeerId) -> None:
        if caller in self._convicted:
            raise Refused("banned: evidence against this key is held here", caller)

    @property
    def peer_id(self) -> PeerId:
        """As in ``Transport``."""
        return self._inner.peer_id

    @property
    def addresses(self) -> Sequence[str]:
        """As in ``Transport``."""
        return self._inner.addresses

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """As in ``Transport``, for everybody else."""

        async def checked(caller: PeerId, request: bytes) -> bytes:
            self._check(caller)
            return await handler(caller, request)

        self._inner.serve(
            method, checked, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        """As in ``Transport``, for everybody else."""

        def checked(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
            self._check(caller)
            return handler(caller, request)

        self._inner.serve_stream(
            method, checked, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """As in ``Transport``."""
        return await self._inner.call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )

    def stream(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        *,
        idle_timeout_s: float,
        chunk_bytes_max: int,
    ) -> AsyncIterator[bytes]:
        """As in ``Transport``."""
        return self._inner.stream(
            peer,
            method,
            request,
            idle_timeout_s=idle_timeout_s,
            chunk_bytes_max=chunk_bytes_max,
        )

    def learn(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """As in ``Transport``."""
        self._inner.learn(peer, addresses)

    def connected(self) -> Sequence[PeerId]:
        """As in ``Transport``."""
        return self._inner.connected()

    def seen_at(self, peer: PeerId) -> str:
        """As in ``Transport``."""
        return self._inner.seen_at(peer)

    def traffic(self) -> Mapping[PeerId, tuple[int, int]]:
        """As in ``Transport``."""
        return self._inner.traffic()
