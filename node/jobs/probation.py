"""Probation in one job: electors keep contributions of strangers, and a stranger makes its own.

Flow. Who has a place and what counts is in ``ledger.probation``; audits are those of ``auditing``.
No part of such a contribution is ever sent: a commitment binds its author to steps that start
from what the chain names, with a new local memory, so that any elector can take them again.
docs/protocol.md, "Probation".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from node.errors import BadSignature, Malformed, PeerError, Refused
from node.exchange.auditing import Tally
from node.exchange.probation import check_start
from node.identity import Verifier, peer_id_of, public_key_of
from node.jobs.courier import Courier
from node.jobs.deps import RunnerDeps
from node.jobs.encoding import (
    ENCODE_S_PER_PARAM,
    Local,
    Replayable,
    data_seed,
    encode_update,
)
from node.jobs.geometry import Geometry
from node.jobs.manifest import JobManifest
from node.jobs.proofs import Proofs
from node.jobs.records import JobRecords
from node.ledger.chain import Head
from node.ledger.probation import PAST_ROUNDS
from node.ports import FloatVector, TrainRequest, Worker
from node.types import Digest, PeerId
from node.wire.audit import Verdict, decode_finding
from node.wire.convert import encode_commitment
from node.wire.messages import Evidence, Signed
from node.wire.probation import encode_past_commitment

PROBATION_METHOD = "probation/1"


@dataclass
class Trial:
    """Contributions on probation that an elector holds: the newest of each who has a place."""

    verify: Verifier
    parts: int
    """Parts of an update of the job."""
    _held: dict[bytes, Signed] = field(default_factory=dict)
    _tried: dict[bytes, int] = field(default_factory=dict)
    """Key -> newest round whose contribution was looked at: each costs one signature check."""

    def take(self, peer: PeerId, signed: Signed, head: Head) -> None:
        """Keep a contribution that its author sent.

        Raises:
            Refused: it does not count now; its author may not know that yet.
            PeerError: another's, not in form, or forged.
        """
        key = signed.signer
        if public_key_of(peer) != key:
            raise PeerError("a contribution is sent by who signed it")
        held = self._held.get(key)
        if held is not None and held.id == signed.id:
            return
        if signed.round <= self._tried.get(key, 0):
            raise Refused("a contribution to this round was looked at")
        try:
            check_start(head.door, signed, self.parts)
        except Malformed:
            raise
        except PeerError as error:
            raise Refused(str(error)) from error
        self._tried[key] = signed.round
        if not signed.holds(self.verify):
            raise BadSignature("the signature of the contribution does not verify")
        self._held[key] = signed

    def counting(self, head: Head) -> list[Signed]:
        """Those that a list of the next round may count, by rising key; what is stale goes."""
        for key in [k for k in (*self._tried, *self._held) if head.probation.member(k) is None]:
            self._tried.pop(key, None)
            self._held.pop(key, None)
        counting: list[Signed] = []
        for _, signed in sorted(self._held.items()):
            try:
                check_start(head.door, signed, self.parts)
            except PeerError:
                continue
            counting.append(signed)
        return counting


def passed(tally: Tally, head: Head) -> list[Signed]:
    """Findings by which open audits of strangers pass, as far as they came here."""
    found = (tally.finding(a.commitment, a.auditor) for a in head.probation.audits)
    return [s for s in found if s is not None and decode_finding(s.body).verdict is Verdict.OK]


def charges(proofs: Proofs, head: Head) -> list[Evidence]:
    """Evidence held here against strangers that a decision may ban, by rising key."""
    held: Mapping[PeerId, Evidence] = {**proofs.judged(head.job), **proofs.held}
    # Who was seated while an audit was open is an elector, and charged like one.
    keys = [key for key in head.probation.accusable if head.electorate.index(key) is None]
    return [held[peer] for peer in map(peer_id_of, sorted(keys)) if peer in held]


@dataclass
class OnProbation:
    """This node's own contributions while it follows a job and has a place.

    Args:
        deps: the node.
        manifest: of the job.
        g: geometry of the job.
        worker: takes the steps.
        records: the job's disk.
        courier: delivers to electors.
    """

    deps: RunnerDeps
    manifest: JobManifest
    g: Geometry
    worker: Worker
    records: JobRecords
    courier: Courier
    _done: int = 0
    """Last round that was contributed to."""
    _first: tuple[float, int] | None = None
    """(loop time, round) of the first one: what the pace of the job is seen from."""

    async def contribute(self, head: Head, params: FloatVector, electors: Sequence[PeerId]) -> None:
        """Take a round's steps from the newest state, and commit to them; nothing without a place.

        What was signed in a round is on disk first, and sent again after a restart.
        """
        round_, root = head.round + 1, head.state_root
        has_place = head.probation.member(self.deps.signer.public_key) is not None
        if not has_place or round_ == self._done or head.probation.start(round_) is None:
            return
        assert root is not None
        kept, _ = await self.records.slots(round_)
        signed = kept.get("commit") or await self._train(head, params, root)
        self._done = round_
        request = encode_past_commitment(signed)
        ask = partial(self.courier.ask, method=PROBATION_METHOD, request=request)
        await asyncio.gather(*(ask(peer, reply_bytes_max=64) for peer in electors))

    def _within_s(self, round_: int) -> float:
        """How long to train: as long as the job takes for the rounds that a list looks back."""
        now, most = asyncio.get_running_loop().time(), self.manifest.round.train_s_max
        if self._first is None:
            self._first = now, round_
        since_s, since = self._first
        if round_ == since:
            return most
        return min(most, (PAST_ROUNDS - 1) * (now - since_s) / (round_ - since))

    async def _train(self, head: Head, params: FloatVector, root: Digest) -> Signed:
        own, round_, behaviour = self.deps.signer.peer_id, head.round + 1, self.deps.behaviour
        await self.worker.reset()
        reply = await self.worker.train(
            TrainRequest(
                params=params,
                round=round_,
                rounds=self.manifest.job.rounds,
                data_seed=data_seed(head.id, own),
                steps=self.manifest.round.steps,
                deadline_s=self._within_s(round_),
                keep=True,
            )
        )
        update = await behaviour.update(round_, reply.update)
        around = Replayable(reply.local_before, reply.local_after, self.worker.compute_class)
        encoded = await self.deps.ports.compute.maths(
            lambda: encode_update(
                self.g,
                update,
                Local.new(self.g),
                round_=round_,
                peer=own,
                prev=head.id,
                root=root,
                steps=reply.steps_done,
                loss=reply.loss,
                replayable=around,
            ),
            cost_s=self.g.d * ENCODE_S_PER_PARAM,
        )
        body = behaviour.signs(round_, "commit", encode_commitment(encoded.commitment))
        key, sign = self.deps.signer.public_key, self.deps.signer.sign
        signed = Signed(
            "commit", head.job, round_, key, body, sign("commit", head.job, round_, body)
        )
        await self.records.put_slots(round_, {"commit": signed})
        return signed
