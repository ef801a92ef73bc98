"""Checked plans: where r <= f, sketches under a beacon back what few reducers agree on.

Pure; part of ``RoundMachine``. The duties of every elector: reveal the own nonce against one seal a
view, sketch the own parts, check a proposal's sketches. docs/protocol.md, "Checked reducers".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node.errors import PeerError
from node.exchange.attempt import agreed_roots
from node.exchange.beacon import beacon_value, nonce_hash
from node.exchange.core import PlanState, RoundCore
from node.exchange.effects import Blame, Check, Sketch
from node.exchange.reducing import Reducing
from node.exchange.rules import rule
from node.types import Digest
from node.wire.convert import (
    decode_beacon,
    decode_results,
    decode_reveal,
    decode_seal,
    decode_sketches,
    encode_reveal,
    encode_sketches,
)
from node.wire.messages import Proposal, Reveal, Signed, Sketches


@dataclass(frozen=True, eq=False)
class SealState:
    """A verified seal."""

    plan_id: Digest
    plan: PlanState
    roots: tuple[Digest, ...]
    """One a part: what all its reducers answered."""


@dataclass(frozen=True, eq=False)
class BeaconState:
    """A verified beacon."""

    seal_id: Digest
    seal: SealState
    value: Digest
    unrevealed: tuple[int, ...]
    """Electors whose HAVE is in the list, but not their nonce in the beacon, rising."""


@dataclass(frozen=True)
class Proof:
    """The sketches of all contributors under one beacon."""

    beacon: BeaconState
    sketches: tuple[tuple[bytes, ...], ...]
    """For each contributor, rising, the packed sketch of each part."""


class Checking:
    """What electors and voters do for checked plans."""

    def __init__(self, core: RoundCore, reducing: Reducing) -> None:
        self._core = core
        self._reducing = reducing
        self._seals: dict[Digest, SealState] = {}
        self._beacons: dict[Digest, BeaconState] = {}
        self._verdicts: dict[Proof, str] = {}
        """Proof -> why it does not hold; empty: it does."""
        self._waiting: dict[tuple[int, str], Signed] = {}
        """(Elector, kind) -> its newest seal or beacon, while what it names is on its way."""

    def needed(self, plan: PlanState) -> bool:
        """Whether equal answers alone do not suffice for a plan."""
        return not plan.wide and self._core.checks

    def possible(self, plan: PlanState) -> bool:
        """Whether sketches can stand for more answers: results are weighted sums of rows."""
        name = self._reducing.rule_for(len(plan.resolution.contributors))
        return bool(name) and rule(name).kind == "weights"

    # Seal -> REVEAL ----------------------------------------------------------------------------

    def on_seal(self, signed: Signed) -> None:
        """Reveal our nonce against the first seal of a view that holds."""
        seal = self._open_seal(signed)
        if seal is None:
            self._waiting[self._core.elector_of(signed), "seal"] = signed
            return
        core, view = self._core, seal.plan.view
        me = core.context.me
        if view != core.agreement.view or me not in seal.plan.nonces or core.signer is None:
            return
        if not core.once("reveal", view):
            return
        nonce = core.signer.nonce(core.context.job, core.context.round, view)
        body = encode_reveal(Reveal(view, signed.id, nonce))
        reveal = core.sign(f"reveal.{view}", "reveal", body)
        if reveal.body == body or core.signs is not None:  # else told elsewhere before a restart
            core.send(core.leader, reveal)

    def _open_seal(self, signed: Signed) -> SealState | None:
        """What a seal says; None: its plan was asked for.

        Raises:
            PeerError: not the leader's, of a plan that needs none, or a part lacks equal results.
        """
        core = self._core
        known = self._seals.get(signed.id)
        if known is not None:
            return known
        core.elector_of(signed)
        value = decode_seal(signed.body, signed.job, signed.round)
        plan = core.plans.get(value.plan_id)
        if plan is None:
            core.fetch((value.plan_id,), (core.leader,))
            return None
        core.check_leads(signed, "seal", plan.view)
        if not self.needed(plan) or not self.possible(plan):
            raise PeerError("a seal of a plan that cannot use one")
        roots = agreed_roots(plan, self.roots_of(value.results, value.plan_id), core.need(False))
        if roots is None:
            raise PeerError("a part of the seal lacks equal results")
        core.signed[signed.id] = signed
        self._seals[signed.id] = state = SealState(value.plan_id, plan, roots)
        return state

    def roots_of(
        self, signed: tuple[Signed, ...], plan_id: Digest
    ) -> Mapping[int, Mapping[int, Digest]]:
        """Reducer -> part -> root, from signed results of one plan.

        Raises:
            PeerError: a result of another plan, or a bad signature.
        """
        roots: dict[int, Mapping[int, Digest]] = {}
        for each in signed:
            elector = self._core.elector_of(each)
            results = decode_results(each.body)
            if each.kind != "result" or results.plan_id != plan_id:
                raise PeerError("a result of another plan")
            self._core.answers.setdefault((elector, "result", plan_id), each)
            roots[elector] = dict(results.results)
        return roots

    # Beacon -> SKETCH --------------------------------------------------------------------------

    def nonce_of(self, signed: Signed, seal_id: Digest) -> tuple[int, bytes]:
        """The elector and nonce of a reveal against a seal that is known here.

        Raises:
            PeerError: against another seal, or not the nonce of the signer's HAVE in the list.
        """
        elector = self._core.elector_of(signed)
        reveal = decode_reveal(signed.body)
        plan = self._seals[seal_id].plan
        if signed.kind != "reveal" or reveal.seal_id != seal_id or reveal.view != plan.view:
            raise PeerError("a reveal against another seal")
        if plan.nonces.get(elector) != nonce_hash(reveal.nonce):
            raise PeerError("a nonce that no HAVE of the list is bound to")
        return elector, reveal.nonce

    def on_beacon(self, signed: Signed) -> None:
        """Sketch our parts under the beacon, if we contribute."""
        beacon = self._open_beacon(signed)
        if beacon is None:
            self._waiting[self._core.elector_of(signed), "beacon"] = signed
            return
        core, plan = self._core, beacon.seal.plan
        mine = core.context.me in plan.resolution.contributors
        if mine and plan.view == core.agreement.view and core.once("sketch", plan.view):
            core.effects.append(Sketch(signed.id, beacon.value))

    def _open_beacon(self, signed: Signed) -> BeaconState | None:
        """What a beacon says; None: its seal was asked for.

        Raises:
            PeerError: not the leader's, or a reveal in it does not hold.
        """
        core = self._core
        known = self._beacons.get(signed.id)
        if known is not None:
            return known
        core.elector_of(signed)
        value = decode_beacon(signed.body, signed.job, signed.round)
        seal = self._seals.get(value.seal_id)
        if seal is None:
            core.fetch((value.seal_id,), (core.leader,))
            return None
        core.check_leads(signed, "beacon", seal.plan.view)
        nonces = dict(self.nonce_of(reveal, value.seal_id) for reveal in value.reveals)
        unrevealed = tuple(sorted(seal.plan.nonces.keys() - nonces.keys()))
        chance = beacon_value(value.seal_id, nonces)
        core.signed[signed.id] = signed
        self._beacons[signed.id] = state = BeaconState(value.seal_id, seal, chance, unrevealed)
        return state

    def on_sketched(self, beacon_id: Digest, parts: tuple[bytes, ...]) -> None:
        """Our sketches are computed: sign them for the leader."""
        core, view = self._core, self._beacons[beacon_id].seal.plan.view
        if view == core.agreement.view:
            body = encode_sketches(Sketches(beacon_id, parts))
            sketch = core.sign(f"sketch.{view}", "sketch", body)
            if sketch.body == body or core.signs is not None:  # as for reveals
                core.send(core.leader, sketch)

    def sketch_of(self, signed: Signed, beacon_id: Digest) -> tuple[int, tuple[bytes, ...]]:
        """The contributor and sketches of a signed message under a beacon that is known here.

        Raises:
            PeerError: under another beacon, of no contributor, or of a wrong size.
        """
        core = self._core
        elector = core.elector_of(signed)
        value = decode_sketches(signed.body)
        contributors = self._beacons[beacon_id].seal.plan.resolution.contributors
        if signed.kind != "sketch" or value.beacon_id != beacon_id or elector not in contributors:
            raise PeerError("a sketch of another beacon, or of nobody who contributes")
        core.answers.setdefault((elector, "sketch", beacon_id), signed)
        if [len(part) for part in value.parts] != [4 * k for k in core.context.rules.buckets]:
            raise PeerError("sketches of a wrong size")
        return elector, value.parts

    # Proposals ---------------------------------------------------------------------------------

    def proof_of(self, proposal: Proposal) -> Proof | None:
        """What backs a proposal whose plan is checked. None: it is on its way, or we may not vote.

        A quorum of voters revealed against this very seal or sent no HAVE that is in the list, so
        at least one honest nonce was unknown when the seal was signed.

        Raises:
            PeerError: the proposal has no beacon of its plan, or not a sketch of each contributor.
        """
        core, beacon_id = self._core, proposal.beacon_id
        if beacon_id is None or proposal.results:
            raise PeerError("fewer results than liars, and no beacon under which they are checked")
        signed = core.signed.get(beacon_id)
        if signed is None:
            core.fetch((beacon_id,), (core.leader,))
            return None
        beacon = self._open_beacon(signed)
        if beacon is None or not self._heard_us(beacon):
            return None
        if beacon.seal.plan_id != proposal.plan_id:
            raise PeerError("a beacon of another plan")
        found = dict(self.sketch_of(each, beacon_id) for each in proposal.sketches)
        if tuple(found) != beacon.seal.plan.resolution.contributors:
            raise PeerError("not one sketch of each contributor")
        return Proof(beacon, tuple(found.values()))

    def beacon(self, beacon_id: Digest) -> BeaconState | None:
        """A beacon that was verified here."""
        return self._beacons.get(beacon_id)

    def beacons(self) -> Mapping[Digest, BeaconState]:
        """All that were verified here, by id."""
        return self._beacons

    def backing(self, value: bytes) -> BeaconState | None:
        """The beacon of a certified decision, if it was verified here."""
        return next((b for b in self._beacons.values() if b.value == value), None)

    def seal(self, seal_id: Digest) -> SealState | None:
        """A seal that was verified here."""
        return self._seals.get(seal_id)

    def _heard_us(self, beacon: BeaconState) -> bool:
        """Whether our nonce, if our HAVE is in the list, was told against this seal alone."""
        core, plan = self._core, beacon.seal.plan
        if core.context.me not in plan.nonces:
            return True
        own = core.slots.get(f"reveal.{plan.view}")
        told = own is not None and decode_reveal(own.body).seal_id == beacon.seal_id
        return told and core.context.me not in beacon.unrevealed

    def verdict(self, proof: Proof) -> str | None:
        """Why the sketches refute the results; empty: they do not; None: it is being computed."""
        core = self._core
        if proof not in self._verdicts and core.once("check", proof):
            core.effects.append(Check(proof))
        return self._verdicts.get(proof)

    def on_checked(self, proof: Proof, fault: str) -> None:
        """The sketches of a proof are compared."""
        self._verdicts[proof] = fault

    def advance(self) -> None:
        """Go on with what waited; whoever sent a wrong one is at fault."""
        for (elector, kind), signed in sorted(self._waiting.items(), key=lambda item: item[0]):
            del self._waiting[elector, kind]
            try:
                if signed.kind == "seal":
                    self.on_seal(signed)
                else:
                    self.on_beacon(signed)
            except PeerError as error:
                self._core.effects.append(Blame(elector, error))
