"""One round as a machine: messages, timers and local results in; effects out.

Pure. It joins the duties of a contributor and reducer (``reducing``), a leader (``leading``) and a
voter (``voting``) over one ``RoundCore``. What moves it: messages of other electors, timers that it
started, and work that it asked for. Each call returns the effects to carry out, in order.
docs/protocol.md, "A round".
"""

from collections.abc import Callable, Iterable, Mapping

from node.errors import Malformed, PeerError
from node.exchange.agreement import Agreement
from node.exchange.arriving import Arriving, Result
from node.exchange.beacon import nonce_hash
from node.exchange.checking import BeaconState, Checking, Proof
from node.exchange.core import RoundContext, RoundCore
from node.exchange.effects import Blame, Effect, StartTimer
from node.exchange.leading import Leading
from node.exchange.proposing import Proposing
from node.exchange.reducing import SCREEN_TIMER, Reducing
from node.exchange.views import CALL_TIMER, VIEW_TIMER, ViewClock
from node.exchange.voting import HEARD, Voting
from node.identity import Signer, Verifier
from node.ledger.votes import decision_id
from node.types import Digest
from node.wire.convert import decode_proposal, encode_have
from node.wire.memory_messages import ForkEvidence
from node.wire.messages import (
    Certificate,
    Contradiction,
    Evidence,
    FetchReply,
    Have,
    Judgement,
    PartScreen,
    PrepareCertificate,
    RoundBody,
    Scatter,
    Signed,
    Spread,
)

COMMIT_TIMER = "commit"


class RoundMachine:
    """One elector in one round.

    Args:
        context: the facts of the round.
        signer: signs for this node; None for a node that may not vote.
        verify: checks signatures.
        slots: what this node signed in this round before a restart.
        lock: the lock on disk, if any.
        results: results of this round that were kept on disk.
        evidence: elector -> the checked proof on disk that it lied.
        signs: (round, kind, body) -> the body that an attack signs in its place.
    """

    def __init__(
        self,
        context: RoundContext,
        signer: Signer | None,
        verify: Verifier,
        slots: Mapping[str, Signed] | None = None,
        lock: PrepareCertificate | None = None,
        results: Iterable[Result] = (),
        evidence: Mapping[int, Evidence] | None = None,
        signs: Callable[[int, str, bytes], bytes] | None = None,
    ) -> None:
        agreement = Agreement(context.job, context.round, context.electorate, signer, verify)
        self.core = RoundCore(context, agreement, signer, verify, dict(slots or {}), signs)
        haves = [int(slot.split(".")[1]) for slot in self.core.slots if slot.startswith("have.")]
        agreement.restore(self.core.slots.values(), lock, max(haves, default=0))
        for slot, signed in self.core.slots.items():
            if slot.startswith(HEARD):
                proposal = decode_proposal(signed.body, signed.job, signed.round)
                self.core.signed[decision_id(proposal.decision)] = signed
        self.core.results = {root: (part, data) for part, root, data in results}
        self.core.convictions.restore(evidence or {})
        self._reducing = Reducing(self.core)
        self._checking = Checking(self.core, self._reducing)
        proposing = Proposing(self.core, self._reducing)
        self._leading = Leading(self.core, self._reducing, self._checking, proposing)
        self._voting = Voting(self.core, self._reducing, self._checking)
        self._handlers: Mapping[str, Callable[[Signed], None]] = {
            "have": self._on_have,
            "screen": self._leading.on_screen,
            "plan": self._on_plan,
            "result": self._leading.on_result,
            "seal": self._checking.on_seal,
            "reveal": self._leading.on_reveal,
            "beacon": self._checking.on_beacon,
            "sketch": self._leading.on_sketch,
            "propose": self._voting.on_propose,
            "prepare": proposing.on_prepare,
            "vote": proposing.on_vote,
        }
        self._clock = ViewClock(self.core, self._leading.view_reached)
        self._arriving = Arriving(self.core)

    @property
    def view(self) -> int:
        """The current view."""
        return self.core.agreement.view

    def beacons(self) -> Mapping[Digest, BeaconState]:
        """All that were verified here, by id."""
        return self._checking.beacons()

    def backing(self, beacon: bytes) -> BeaconState | None:
        """What a certified decision's beacon stands for, if it was verified here."""
        return self._checking.backing(beacon)

    # Inputs ------------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """Begin, or begin again after a restart: what was signed before is sent again."""
        core = self.core
        deadlines = core.context.deadlines
        core.effects.append(StartTimer(COMMIT_TIMER, deadlines.commit_s))
        core.convictions.tell(core.leader)
        self._clock.enter()
        commit = core.slots.get("commit")
        if commit is not None:
            core.broadcast(commit)
        for kind in ("have", "prepare", "vote"):
            signed = core.slots.get(f"{kind}.{self.view}")
            if signed is not None and kind == "have" and self.view:
                core.broadcast(signed)
            elif signed is not None:
                core.send(core.leader, signed)
        return self._finish()

    def on_update(self, body: bytes) -> list[Effect]:
        """Our update is encoded: commit to it, once a round."""
        if self.core.signer is not None and "commit" not in self.core.slots:
            self.core.phase("commit")
            self.core.broadcast(self.core.sign("commit", "commit", body))
        return self._finish()

    def on_message(self, sender: int, body: RoundBody) -> list[Effect]:
        """Take what elector ``sender`` sent; the transport proved who it is."""
        self._take(sender, body)
        return self._finish()

    def on_spread(self, sender: int, message: Spread, roots: Iterable[Digest]) -> list[Effect]:
        """Take result bytes; ``roots`` were computed from them here, in the same order."""
        try:
            self._reducing.check_spread(message)
        except PeerError as error:
            self.core.effects.append(Blame(sender, error))
            return self._finish()
        pairs = zip(message.parts, roots, strict=True)
        self._arriving.learn(sender, message.plan_id, [(p, r, data) for (p, data), r in pairs])
        if message.result is not None:
            self._take(sender, message.result)
        return self._finish()

    def on_fetched(self, reply: FetchReply, results: Iterable[Result]) -> list[Effect]:
        """Take what we asked for by id; roots of ``results`` were computed here."""
        for part, root, data in results:
            if part < self.core.context.rules.parts:
                self.core.results.setdefault(root, (part, data))
        for signed in reply.signed:
            if signed.kind in ("commit", "list", "plan", "seal", "beacon", "propose"):
                try:
                    signer = self.core.elector_of(signed)
                except PeerError:
                    continue  # Forged by whoever passed it on: the named signer is innocent.
                self._take(signer, signed)
        return self._finish()

    def on_timer(self, name: str) -> list[Effect]:
        """A timer that this machine started has run out."""
        kind, _, argument = name.partition("/")
        if kind == COMMIT_TIMER:
            self._have()
        elif kind == VIEW_TIMER and int(argument) == self.view:
            self._enter(self.view + 1)
        elif kind == CALL_TIMER and int(argument) == self.view:
            self._clock.call()
        elif kind == SCREEN_TIMER:
            self._reducing.on_screen_timer(argument)
        else:
            self._leading.on_timer(kind, argument)
        return self._finish()

    def on_screened(self, list_id: Digest, screens: tuple[PartScreen, ...]) -> list[Effect]:
        """The rows of a list are checked."""
        self._reducing.on_screened(list_id, screens)
        return self._finish()

    def on_reduced(self, plan_id: Digest, results: list[Result]) -> list[Effect]:
        """Our parts of the result are computed."""
        me = self.core.context.me
        assert me is not None
        self._arriving.learn(me, plan_id, results)
        self._reducing.on_reduced(plan_id, tuple((part, root) for part, root, _ in results))
        return self._finish()

    def on_sketched(self, beacon_id: Digest, parts: tuple[bytes, ...]) -> list[Effect]:
        """Our own parts are sketched."""
        self._checking.on_sketched(beacon_id, parts)
        return self._finish()

    def on_checked(self, proof: Proof, fault: str) -> list[Effect]:
        """Sketches are compared; ``fault`` says why they refute the results, or nothing."""
        self._checking.on_checked(proof, fault)
        return self._finish()

    def on_applied(self, roots: tuple[Digest, ...], state_root: Digest) -> list[Effect]:
        """The state that follows from these results is computed."""
        self.core.shadows[roots] = state_root
        return self._finish()

    # Inside ------------------------------------------------------------------------------------

    def _finish(self) -> list[Effect]:
        """Handle what we told ourselves, go on where possible, hand out the effects."""
        core = self.core
        while True:
            while core.loopback:
                assert core.context.me is not None
                self._take(core.context.me, core.loopback.pop(0))
            self._advance()
            if not core.loopback:
                break
        effects, core.effects = core.effects, []
        return effects

    def _advance(self) -> None:
        core = self.core
        held, electorate = core.settled, core.electorate
        if self.view == 0 and not core.awaited:
            self._have()
        elif self.view == 0 and held >= electorate.n - electorate.f and core.once("grace"):
            core.effects.append(StartTimer(COMMIT_TIMER, core.context.deadlines.grace_s))
        self._reducing.advance()
        self._checking.advance()
        if core.leading:
            self._leading.lead()
            self._leading.advance()
        try:
            self._voting.advance()
        except PeerError as error:
            self._voting.drop()
            core.effects.append(Blame(core.leader, error))

    def _take(self, sender: int, body: RoundBody) -> None:
        try:
            self._dispatch(sender, body)
        except PeerError as error:
            self.core.effects.append(Blame(sender, error))

    def _dispatch(self, sender: int, body: RoundBody) -> None:
        if isinstance(body, Signed):
            if self.core.elector_of(body) != sender:
                raise PeerError("a signed message travels from its signer only")
            self._on_signed(body)
        elif isinstance(body, Scatter):
            self._reducing.on_scatter(sender, body)
        elif isinstance(body, PrepareCertificate):
            self._voting.on_prepared(body)
        elif isinstance(body, Certificate):
            self._voting.on_certificate(body)
        elif isinstance(body, Contradiction | ForkEvidence | Judgement):
            self.core.convictions.on_evidence(sender, body)
        else:
            raise Malformed("this message is taken elsewhere")

    def _on_signed(self, signed: Signed) -> None:
        core = self.core
        if signed.kind == "commit":
            core.learn_commitment(signed)
        elif signed.kind == "list":
            value = self._reducing.check_list(signed)
            self._enter(value.view)
            self._reducing.on_list(signed)
        else:
            self._handlers[signed.kind](signed)

    def _on_have(self, signed: Signed) -> None:
        self._leading.on_have(signed)
        # One of more than f is honest, so liars draw nobody to a view.
        self._enter(self._leading.view_reached(self.core.electorate.f + 1))
        self._clock.heard()

    def _on_plan(self, signed: Signed) -> None:
        state = self._reducing.on_plan(signed)
        if state is not None:
            self._arriving.speculate(signed.id)
            self._leading.on_own_plan(signed.id, state)

    def _have(self) -> None:
        """Say what we hold, once a view: to the leader, after a failed view to all.

        All hear of higher views, so that nodes which were apart meet in one.
        """
        core = self.core
        if core.signer is None or f"have.{self.view}" in core.slots:
            return
        bound = b""
        if core.checks:
            bound = nonce_hash(core.signer.nonce(core.context.job, core.context.round, self.view))
        have = Have(self.view, core.held(), core.agreement.lock, bound)
        core.phase("have")
        signed = core.sign(f"have.{self.view}", "have", encode_have(have))
        if self.view:
            core.broadcast(signed)
        else:
            core.send(core.leader, signed)

    def _enter(self, view: int) -> None:
        if self.core.agreement.enter(view):
            self.core.convictions.tell(self.core.leader)
            self._have()
            self._clock.enter()
