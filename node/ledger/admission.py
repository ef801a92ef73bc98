"""Who may enter the electorate, and how many at once: a pure function of manifest and chain.

Pure. Whoever wants a seat applies; a leader's list carries applications, everybody checks them, and
the decision of that list seats them. docs/protocol.md, "Admission".

Source:
    Back 2002, "Hashcash - A Denial of Service Counter-Measure", for the proof of work.
    Differs: it is paid once for a key in a job, and buys a seat only within the window.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from node.errors import BadSignature, PeerError
from node.identity import Verifier
from node.ledger.electorate import Electorate, quorum_of
from node.ledger.probation import Probation, places_of
from node.merkle import digest
from node.types import ELECTORS_MAX, JobId
from node.wire.admission import KIND, decode_application
from node.wire.messages import Evidence, Signed
from node.wire.probation_messages import NO_STEP, ProbationStep

WINDOW_ROUNDS = 10
"""Rounds in which strangers get at most max(1, n // 8) seats."""
FRESH_ROUNDS = 16
"""Rounds for which an application holds: who went away since is not seated."""


@dataclass(frozen=True)
class AdmissionRules:
    """What the manifest says. By default nobody but who had a seat before may enter."""

    mode: Literal["list", "work", "open"] = "list"
    keys: frozenset[bytes] = frozenset()
    """Public keys that may always enter: the founders, and those that the manifest lists."""
    work_bits: int = 0
    """Leading zero bits that a stranger's proof of work has."""
    audits: int = 0
    """Audits that a stranger must pass on probation, in mode ``open``."""


@dataclass(frozen=True)
class Entrants:
    """What a leader would list of strangers and others who want a seat."""

    applications: tuple[Signed, ...] = ()
    """Best first."""
    probation: tuple[Signed, ...] = ()
    """Commitments of who is on probation, and findings that their audits passed."""
    charges: tuple[Evidence, ...] = ()
    """Against who is on probation, by rising key."""


NOBODY = Entrants()


@dataclass(frozen=True)
class Door:
    """What decides who may enter by the decision of one round."""

    job: JobId
    round: int
    electorate: Electorate
    rules: AdmissionRules
    bans: Collection[bytes] = ()
    """Public keys that decisions before it banned."""
    admitted: tuple[int, ...] = ()
    """Rounds in which strangers were seated, one for each of them."""
    probation: Probation = field(default_factory=Probation)

    def strangers_max(self) -> int:
        """How many may enter that are not on the list."""
        if self.rules.mode == "list":
            return 0
        recent = sum(round_ > self.round - WINDOW_ROUNDS for round_ in self.admitted)
        return max(0, max(1, self.electorate.n // 8) - recent)

    def is_stranger(self, key: bytes) -> bool:
        """Whether a key is not on the list."""
        return key not in self.rules.keys

    def seats(self, key: bytes) -> bool:
        """Whether an application gets a seat; else it gets a place on probation."""
        if self.rules.mode != "open" or not self.is_stranger(key):
            return True
        member = self.probation.member(key)
        return member is not None and member.passed >= self.rules.audits

    def has_room(self, newcomers: int, listed: int) -> bool:
        """Whether so many may enter by a list that holds ``listed`` electors.

        Those must be a quorum without them: who enters and falls silent stops nothing.
        """
        after = self.electorate.n + newcomers
        return not newcomers or (after <= ELECTORS_MAX and listed >= quorum_of(after))

    def check_keys(self, keys: Collection[bytes], listed: int) -> None:
        """Check what the chain alone shows of those who are to enter.

        Args:
            keys: theirs.
            listed: electors whose commitments the list holds.

        Raises:
            BadSignature: banned, an elector already, or more than may enter.
        """
        if any(key in self.bans or self.electorate.index(key) is not None for key in keys):
            raise BadSignature("who is to enter is banned, or has a seat")
        if not all(map(self.seats, keys)):
            raise BadSignature(f"a stranger is to enter without {self.rules.audits} passed audits")
        strangers = sum(map(self.is_stranger, keys))
        if strangers > self.strangers_max():
            text = f"{strangers} strangers are to enter, at most {self.strangers_max()} may"
            raise BadSignature(f"{text} in {WINDOW_ROUNDS} rounds")
        if not self.has_room(len(keys), listed):
            text = f"{len(keys)} are to enter besides {self.electorate.n}"
            raise BadSignature(
                f"{text}, and the {listed} listed would be no quorum, or 64 are full"
            )

    def check_step(self, step: ProbationStep, out: Collection[bytes]) -> None:
        """Check what a decision (or a list) changes of probation.

        Args:
            step: what it changes.
            out: public keys that it bans or seats.

        Raises:
            BadSignature: it gives a place to who may have none, or counts what may not count.
        """
        if step == NO_STEP:
            return
        if self.rules.mode != "open":
            raise BadSignature("this job admits nobody on probation")
        self.probation.check(step, self.round)
        for key in step.entered:
            known = self.electorate.index(key) is not None or self.probation.member(key)
            if known or not self.is_stranger(key) or key in self.bans or key in out:
                raise BadSignature("a place on probation for who may not have one")
        if len(step.entered) > self.places_free(step, out):
            raise BadSignature(f"more than {places_of(self.electorate.n)} are on probation")

    def places_free(self, step: ProbationStep, out: Collection[bytes]) -> int:
        """Places for newcomers, besides those who stay after a decision."""
        left = self.probation.left(step, self.round, out, self.rules.audits)
        return max(0, places_of(self.electorate.n) - len(left))

    def check(self, signed: Signed, verify: Verifier) -> bytes:
        """The public key that an application (peer input) would seat.

        Raises:
            Malformed: not an application in form.
            PeerError: it is stale, or may not enter, or its work or signature does not hold.
        """
        key = self.check_claim(signed)
        if not signed.holds(verify):
            raise BadSignature("the signature of the application does not verify")
        return key

    def check_claim(self, signed: Signed) -> bytes:
        """``check`` but for the signature, for one that was checked before."""
        key = signed.signer
        if signed.kind != KIND or signed.job != self.job or signed.round != 0:
            raise PeerError("not an application for this job")
        application = decode_application(signed.body)
        if not self.round - FRESH_ROUNDS <= application.round < self.round:
            raise PeerError(f"an application of round {application.round} is not one of now")
        if key in self.bans or self.electorate.index(key) is not None:
            raise PeerError("the applicant is banned, or has a seat")
        if self.is_stranger(key):
            if self.rules.mode == "list":
                raise PeerError("the job admits listed peers only")
            works = self.rules.mode == "work"
            if works and not has_worked(self.job, key, application.nonce, self.rules.work_bits):
                raise PeerError(f"the proof of work lacks {self.rules.work_bits} zero bits")
        return key

    def turn(self, key: bytes) -> bytes:
        """Whose turn it is among strangers, the least; it is another's each round."""
        return digest("admission turn", self.job + self.round.to_bytes(8, "big") + key)

    def choose(self, applications: Mapping[bytes, Signed]) -> tuple[Signed, ...]:
        """Those that may enter at once, if there is room for all: listed ones first.

        Then come as many strangers as may be seated, and those who may get a place on probation.
        """
        listed = sorted(key for key in applications if not self.is_stranger(key))
        others = sorted(applications.keys() - {*listed}, key=self.turn)
        seated = [key for key in others if self.seats(key)][: self.strangers_max()]
        waiting = [k for k in others if not self.seats(k) and not self.probation.member(k)]
        places = waiting[: places_of(self.electorate.n)]
        return tuple(applications[key] for key in (*listed, *seated, *places))

    def fitting(
        self,
        chosen: Sequence[Signed],
        listed: int,
        step: ProbationStep = NO_STEP,
        bans: Collection[bytes] = (),
    ) -> tuple[Signed, ...]:
        """As many of them, from the first, as a list may let in; by rising key.

        Args:
            chosen: see ``choose``.
            listed: electors that the list holds.
            step: what it says of those on probation.
            bans: public keys that it bans.
        """
        chosen = [signed for signed in chosen if signed.signer not in bans]
        seats = [signed for signed in chosen if self.seats(signed.signer)]
        most = next(k for k in range(len(seats), -1, -1) if self.has_room(k, listed))
        out = {*bans, *(signed.signer for signed in seats[:most])}
        places = [signed for signed in chosen if not self.seats(signed.signer)]
        let_in = (*seats[:most], *places[: self.places_free(step, out)])
        return tuple(sorted(let_in, key=lambda signed: signed.signer))


def has_worked(job: JobId, key: bytes, nonce: int, bits: int) -> bool:
    """Whether a nonce proves work for a key in a job: its digest begins with zero bits."""
    work = digest("admission work", job + key + nonce.to_bytes(8, "big"))
    return int.from_bytes(work, "big") >> (8 * len(work) - bits) == 0


def work(job: JobId, key: bytes, bits: int, first: int, count: int) -> int | None:
    """The first of ``count`` nonces from ``first`` that proves work; None: none of them does."""
    tried = range(first, first + count)
    return next((nonce for nonce in tried if has_worked(job, key, nonce, bits)), None)
