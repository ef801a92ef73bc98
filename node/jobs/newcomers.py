"""Both sides of admission to one job on one node: who would enter it, and this node's own wish to.

Flow. docs/protocol.md, "Admission".
"""

import asyncio
from collections.abc import Sequence

from node.errors import Refused
from node.jobs.auditing import Auditing
from node.jobs.courier import Courier
from node.jobs.deps import RunnerDeps
from node.jobs.geometry import Geometry
from node.jobs.manifest import JobManifest
from node.jobs.probation import OnProbation, Trial, charges, passed
from node.jobs.records import JobRecords
from node.jobs.seats import Applicants, Applying
from node.ledger.admission import Entrants
from node.ledger.chain import Head
from node.ports import FloatVector, Worker
from node.types import PeerId
from node.wire.messages import Signed


class Newcomers:
    """Strangers and others outside the electorate, to which this node may belong.

    Args:
        deps: the node.
        manifest: of the job.
    """

    def __init__(self, deps: RunnerDeps, manifest: JobManifest) -> None:
        self._deps = deps
        self._manifest = manifest
        self._applicants = Applicants(deps.verify, deps.ranges)
        self._trial: Trial | None = None
        self._auditing: Auditing | None = None

    def start(
        self,
        group: asyncio.TaskGroup,
        courier: Courier,
        g: Geometry,
        worker: Worker,
        records: JobRecords,
        auditing: Auditing,
    ) -> None:
        """The worker is there; ``auditing`` may be off, and then nobody is on probation."""
        deps, is_open = self._deps, self._manifest.admission.mode == "open"
        self._auditing = auditing
        self._applying = Applying(deps.signer, deps.ports.compute, group, courier)
        self._own: OnProbation | None = None
        if is_open and auditing.is_on:
            self._trial = Trial(deps.verify, len(g.part_sizes))
            self._own = OnProbation(deps, self._manifest, g, worker, records, courier)

    def take_application(self, peer: PeerId, signed: Signed, head: Head) -> None:
        """See ``Applicants.take``."""
        seen_at = self._deps.ports.transport.seen_at(peer)
        self._applicants.take(peer, signed, head, seen_at)

    def take_contribution(self, peer: PeerId, signed: Signed, head: Head) -> None:
        """See ``Trial.take``; refused where nobody is on probation."""
        if self._trial is None:
            raise Refused("nobody is on probation in this job here")
        self._trial.take(peer, signed, head)

    def entrants(self, head: Head) -> Entrants:
        """What this node would list of them, were it to lead the next round."""
        chosen = self._applicants.chosen(head)
        if self._trial is None or self._auditing is None:
            return Entrants(tuple(a for a in chosen if head.door.seats(a.signer)))
        messages = (*self._trial.counting(head), *passed(self._auditing.tally, head))
        listed = sorted(messages, key=lambda s: (s.kind, s.signer, s.round, s.body))
        return Entrants(chosen, tuple(listed), tuple(charges(self._deps.proofs, head)))

    async def ask(self, head: Head, params: FloatVector, electors: Sequence[PeerId]) -> None:
        """This node follows: apply for a seat, and contribute if it has a place on probation.

        Args:
            head: where the job stands.
            params: of its state. Shape [d].
            electors: of the next round.
        """
        await self._applying.ask(head, electors)
        if self._own is not None:
            await self._own.contribute(head, params, electors)
