"""What a leader does for a checked plan: seal its results, collect nonces, then sketches.

Pure; part of ``RoundMachine``. Two round trips, and only where r <= f. docs/protocol.md, "Checked
reducers".
"""

from node.exchange.attempt import Attempt
from node.exchange.checking import Checking, Proof
from node.exchange.core import RoundCore
from node.exchange.effects import StartTimer
from node.types import Digest
from node.wire.convert import encode_beacon, encode_seal
from node.wire.messages import Beacon, Seal, Signed

REVEALS_TIMER = "reveals"
SKETCHES_TIMER = "sketches"


class Sealing:
    """The leader's side of checked plans."""

    def __init__(self, core: RoundCore, checking: Checking) -> None:
        self._core = core
        self._checking = checking

    def collect(self, attempt: Attempt) -> None:
        """Seal what the reducers agreed on; draw the beacon once every nonce is here."""
        assert attempt.plan_id is not None
        if attempt.seal_id is None:
            results = tuple(signed for _, (signed, _) in sorted(attempt.results.items()))
            body = encode_seal(Seal(attempt.plan_id, results))
            attempt.seal_id = self._tell(attempt, "seal", body, REVEALS_TIMER)
        elif attempt.beacon_id is None:
            seal = self._checking.seal(attempt.seal_id)
            if seal is not None and attempt.reveals.keys() == seal.plan.nonces.keys():
                self._draw(attempt)

    def proof(self, attempt: Attempt) -> Proof | None:
        """What backs the proposal, once all sketches were compared; sets ``failed``."""
        beacon = self._checking.beacon(attempt.beacon_id) if attempt.beacon_id else None
        if beacon is None:
            return None
        contributors = beacon.seal.plan.resolution.contributors
        if not set(contributors) <= attempt.sketches.keys():
            return None
        proof = Proof(beacon, tuple(attempt.sketches[e][1] for e in contributors))
        fault = self._checking.verdict(proof)
        attempt.failed = attempt.failed or bool(fault)
        return proof if fault == "" else None

    def _tell(self, attempt: Attempt, kind: str, body: bytes, timer: str) -> Digest:
        core = self._core
        signed = core.sign(f"{kind}.{attempt.view}", kind, body)
        core.phase(kind)
        core.effects.append(
            StartTimer(f"{timer}/{attempt.list_id.hex()}", core.context.deadlines.step_s / 2)
        )
        core.broadcast(signed)
        return signed.id

    def _draw(self, attempt: Attempt) -> None:
        assert attempt.seal_id is not None
        reveals = tuple(signed for _, signed in sorted(attempt.reveals.items()))
        body = encode_beacon(Beacon(attempt.seal_id, reveals))
        attempt.beacon_id = self._tell(attempt, "beacon", body, SKETCHES_TIMER)

    def on_reveal(self, attempt: Attempt, signed: Signed) -> None:
        """Take a nonce; late ones are left out.

        Raises:
            PeerError: it is not against our seal, or not the one that its signer is bound to.
        """
        if attempt.seal_id is None or self._checking.seal(attempt.seal_id) is None:
            return
        elector, _ = self._checking.nonce_of(signed, attempt.seal_id)
        attempt.reveals.setdefault(elector, signed)

    def on_sketch(self, attempt: Attempt, signed: Signed) -> None:
        """Take a contributor's sketches.

        Raises:
            PeerError: under another beacon, of no contributor, or of a wrong size.
        """
        if attempt.beacon_id is None or self._checking.beacon(attempt.beacon_id) is None:
            return
        elector, parts = self._checking.sketch_of(signed, attempt.beacon_id)
        attempt.sketches.setdefault(elector, (signed, parts))

    def on_timer(self, name: str, attempt: Attempt) -> None:
        """Nonces or sketches stayed out.

        Without a nonce the draw stands as long as enough can vote: whose nonce is missing may not.
        Without a sketch of each contributor nothing is checked.
        """
        core = self._core
        if name == SKETCHES_TIMER:
            beacon = self._checking.beacon(attempt.beacon_id) if attempt.beacon_id else None
            due = beacon.seal.plan.resolution.contributors if beacon else ()
            attempt.failed = beacon is None or not set(due) <= attempt.sketches.keys()
        elif attempt.seal_id is not None and attempt.beacon_id is None:
            seal = self._checking.seal(attempt.seal_id)
            silent = seal.plan.nonces.keys() - attempt.reveals.keys() if seal else ()
            if seal is None or core.electorate.n - len(silent) < core.electorate.quorum:
                attempt.failed = True
            else:
                self._draw(attempt)
