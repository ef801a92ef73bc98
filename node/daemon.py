"""One node: membership and jobs over ports. The same object on uvloop and in virtual time.

Composition: it builds the services, joins them by passing values, and answers the operator.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import structlog

from node import __version__
from node.config import NodeConfig, is_job_id
from node.errors import ConfigError, PeerError
from node.identity import Signer, Verifier, public_key_of, verify
from node.jobs.deps import RunnerDeps
from node.jobs.finding import JobFinder
from node.jobs.honest import HONEST, no_failpoint
from node.jobs.manifest import (
    SignedManifest,
    canonical_bytes,
    decode_signed_manifest,
    parse_manifest,
    sign_manifest,
)
from node.jobs.proofs import Gate, Proofs
from node.jobs.runner import JobRunner
from node.jobs.scope import Scope
from node.jobs.service import JobService
from node.jobs.show import job_status, peer_statuses, warnings_of
from node.ledger.evidence import describe
from node.membership.config import MembershipConfig
from node.membership.service import MembershipService
from node.memory.methods import MemoryMethods
from node.observe.status import JobStatus, NodeStatus, PeerStatus
from node.ports import Behaviour, Ports
from node.ranges import Ranges
from node.types import JobId, PeerId
from node.wire.convert import encode_evidence
from node.wire.messages import Evidence, Judgement


class Log(Protocol):
    """The part of structlog's logger that a daemon uses."""

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """A peer or the operator should know."""
        ...


def manifest_id(encoded: bytes, verifier: Verifier = verify) -> JobId:
    """Id of the job that an encoded SignedManifest proposes; PeerError if it does not check."""
    return decode_signed_manifest(encoded, verifier).job_id


class Daemon:
    """A running node.

    Args:
        config: what the operator wants.
        signer: the node's identity.
        ports: the world.
        behaviour: what an attack changes; ``HONEST`` for a real node.
        failpoint: called with (phase, round); a crash test may end the process in it.
        slots_lost: the key is older than the slot log: nothing may be signed.
        verifier: checks signatures; a simulation may give a cheaper one.
        rng: randomness of membership (partners, pauses).
        log: takes events; structlog's where none is given.
    """

    def __init__(
        self,
        config: NodeConfig,
        signer: Signer,
        ports: Ports,
        behaviour: Behaviour = HONEST,
        failpoint: Callable[[str, int], None] = no_failpoint,
        *,
        slots_lost: bool = False,
        verifier: Verifier = verify,
        rng: np.random.Generator | None = None,
        log: Log | None = None,
    ) -> None:
        self.config = config
        self._signer = signer
        ports = behaviour.ports(ports, signer.sign)
        self._proofs = Proofs(ports.store, verifier, self._on_proof)
        gate = Gate(ports.transport, self._proofs.held)
        self._ports = ports = replace(ports, transport=gate)
        self._behaviour = behaviour
        self._slots_lost = slots_lost
        self._verifier = verifier
        self._log: Log = log or structlog.get_logger("artel")
        # Only spreads traffic in time; a simulation passes its own.
        seeded = rng or np.random.default_rng(list(signer.public_key))
        ranges = Ranges(config.limits.range_peers, config.limits.trusted_ranges)
        self._membership = MembershipService(
            MembershipConfig(
                swarm=config.swarm,
                join=config.join,
                announce=config.announce,
                peers_max=config.limits.peers_max,
                ranges=ranges,
                version=__version__,
                serves_any=config.serve == "any",
            ),
            signer=signer,
            transport=ports.transport,
            discovery=ports.discovery,
            store=ports.store,
            clock=ports.clock,
            rng=seeded,
            manifest_id=lambda encoded: manifest_id(encoded, verifier),
            on_change=lambda: self._finder.on_change(),
            verifier=verifier,
        )
        deps = RunnerDeps(
            ports=ports,
            signer=signer,
            verify=verifier,
            may_vote=not slots_lost,
            behaviour=behaviour,
            failpoint=failpoint,
            on_blame=self.blame,
            artifacts=config.artifacts or config.data / "artifacts",
            memories=MemoryMethods(self.blame),
            proofs=self._proofs,
            ranges=ranges,
            on_electors=self._keep_electors,
            on_event=self._log.info,
        )
        self._jobs = JobService(deps, self.blame)
        self._finder = JobFinder(
            self._membership, self._jobs, self._serve_job, verifier, self._log.warning
        )
        self._stop = asyncio.Event()
        self._up = asyncio.Event()
        self._errors: dict[PeerId, dict[str, int]] = {}
        self._group: Scope | None = None
        self._started_s = 0.0

    # Life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until ``request_stop`` or cancellation."""
        self._started_s = asyncio.get_running_loop().time()
        async with Scope() as group:
            self._group = group
            await self._proofs.load()
            await self._jobs.run(group)
            group.create_task(self._membership.run(), name="membership")
            group.create_task(self._behaviour.run(), name="behaviour")
            for runner in self._jobs.runners:
                await self._serve_job(runner.signed)
            for text in self.config.jobs:
                if is_job_id(text):
                    self._finder.want(group, JobId(bytes.fromhex(text)))
            if self.config.serve == "any":
                group.create_task(self._finder.run_any(group), name="jobs-any")
            self._up.set()
            await self._stop.wait()
            group.cancel_all()

    def request_stop(self) -> None:
        """End ``run`` soon; may be called from a signal handler."""
        self._stop.set()

    # Jobs --------------------------------------------------------------------------------------

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        """Propose a job, publish it and run it; its id in hex.

        Raises:
            ConfigError: the manifest does not check, or too many jobs run.
        """
        await self._up.wait()
        signed = sign_manifest(parse_manifest(manifest_toml, overrides), self._signer)
        await self._jobs.start(signed)
        await self._serve_job(signed)
        assert self._group is not None
        told = self._membership.tell(signed.job_id, signed.founders)
        self._group.create_task(told, name="tell-founders")
        return signed.job_id.hex()

    async def _serve_job(self, signed: SignedManifest) -> None:
        self._keep_electors()
        await self._membership.publish_manifest(signed.encode())

    def _keep_electors(self) -> None:
        """Electors of our jobs stay in the peer table, however crowded it is."""
        electors = {p for runner in self._jobs.runners for p in runner.head.electorate.ids}
        self._membership.view.keep(sorted(electors))

    def is_needed(self, peer: PeerId) -> bool:
        """Whether a peer is let in, however many of its address range are here."""
        return peer in self._membership.view.kept

    async def stop_job(self, job_id_hex: str) -> None:
        """Stop a job on this node.

        Raises:
            ConfigError: no such job.
        """
        job = self._job_id(job_id_hex)
        await self._jobs.stop(job)
        self._membership.withdraw_manifest(job)

    def _job_id(self, text: str) -> JobId:
        try:
            return JobId(bytes.fromhex(text))
        except ValueError as error:
            raise ConfigError(f"{text!r} is not a job id (64 hex digits)") from error

    @property
    def runners(self) -> Sequence[JobRunner]:
        """All jobs as they run, sorted by id: for tests and simulations."""
        return self._jobs.runners

    def list_jobs(self) -> Sequence[JobStatus]:
        """All jobs, sorted by id."""
        return [self._show(runner) for runner in self._jobs.runners]

    def show_job(self, job_id_hex: str) -> tuple[JobStatus, str]:
        """One job and its canonical manifest.

        Raises:
            ConfigError: no such job.
        """
        runner = self._jobs.get(self._job_id(job_id_hex))
        if runner is None:
            raise ConfigError(f"no job {job_id_hex} runs here; see `artel job list`")
        return self._show(runner), canonical_bytes(runner.manifest).decode()

    def _show(self, runner: JobRunner) -> JobStatus:
        now = self._ports.clock.unix_s()
        return job_status(runner, self._membership.view.explain(now, runner.head.electorate.ids))

    # Peers and status --------------------------------------------------------------------------

    def blame(self, peer: PeerId, error: PeerError) -> None:
        """Score a protocol error against a peer."""
        counts = self._errors.setdefault(peer, {})
        counts[error.reason] = counts.get(error.reason, 0) + 1
        self._membership.view.blame(peer, error.reason, self._ports.clock.unix_s())
        self._log.warning("peer_error", peer=peer, reason=error.reason, text=str(error)[:200])

    def _on_proof(self, peer: PeerId, evidence: Evidence) -> None:
        """Evidence convicts a peer; what stands alone puts it out of the whole node for good."""
        why = describe(evidence)
        if not isinstance(evidence, Judgement):
            self._membership.view.ban(peer, why)
        self._log.warning("convicted", peer=peer, reason=why)

    def convicted(self) -> Mapping[str, str]:
        """Peer -> what the evidence against it shows, in words."""
        return {peer: "; ".join(map(describe, held)) for peer, held in self._proofs.all().items()}

    def evidence(self, peer: str) -> bytes:
        """The encoded evidence against a peer.

        Raises:
            ConfigError: none is held.
        """
        evidence = self._proofs.all().get(PeerId(peer))
        if evidence is None:
            raise ConfigError(f"no evidence against {peer} is held here; see `artel evidence list`")
        return encode_evidence(evidence[0])

    def _why_banned(self, peer: PeerId) -> str:
        """Why a peer is banned, in words; empty: it is not."""
        reasons = [self.convicted().get(peer, "")]
        reasons += [
            f"by the certificate of round {round_} of {runner.manifest.job.name}"
            for runner in self._jobs.runners
            if (round_ := runner.head.bans.get(public_key_of(peer))) is not None
        ]
        return "; ".join(filter(None, reasons))

    def _peers(self) -> Sequence[PeerStatus]:
        view, transport = self._membership.view, self._ports.transport
        shown = view, transport, self._ports.clock.unix_s(), self._jobs.runners
        return peer_statuses(*shown, self._errors, self._why_banned)

    def status(self) -> NodeStatus:
        """What the node says about itself."""
        own = self._signer.peer_id
        jobs = self.list_jobs()
        return NodeStatus(
            peer=own,
            version=__version__,
            addresses=[f"{a}/p2p/{own}" for a in self._ports.transport.addresses],
            uptime_s=asyncio.get_running_loop().time() - self._started_s,
            ready=self._up.is_set() and all(j.params for j in jobs if j.state != "failed"),
            membership=self._membership.status_sentence(),
            peers=self._peers(),
            jobs=jobs,
            warnings=warnings_of(
                self._jobs.runners,
                slots_lost=self._slots_lost,
                convicted=own in self._proofs.held,
            ),
        )
