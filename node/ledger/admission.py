"""Who may enter the electorate, and how many at once: a pure function of manifest and chain.

Pure. Whoever wants a seat applies; a leader's list carries applications, everybody checks them, and
the decision of that list seats them. docs/protocol.md, "Admission".

Source:
    Back 2002, "Hashcash - A Denial of Service Counter-Measure", for the proof of work.
    Differs: it is paid once for a key in a job, and buys a seat only within the window.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from node.errors import BadSignature, PeerError
from node.identity import Verifier
from node.ledger.electorate import Electorate, quorum_of
from node.merkle import digest
from node.types import ELECTORS_MAX, JobId
from node.wire.admission import KIND, decode_application
from node.wire.messages import Signed

WINDOW_ROUNDS = 10
"""Rounds in which strangers get at most max(1, n // 8) seats."""
FRESH_ROUNDS = 16
"""Rounds for which an application holds: who went away since is not seated."""


@dataclass(frozen=True)
class AdmissionRules:
    """What the manifest says. By default nobody but who had a seat before may enter."""

    mode: Literal["list", "work"] = "list"
    keys: frozenset[bytes] = frozenset()
    """Public keys that may always enter: the founders, and those that the manifest lists."""
    work_bits: int = 0
    """Leading zero bits that a stranger's proof of work has."""


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

    def strangers_max(self) -> int:
        """How many may enter that are not on the list."""
        if self.rules.mode == "list":
            return 0
        recent = sum(round_ > self.round - WINDOW_ROUNDS for round_ in self.admitted)
        return max(0, max(1, self.electorate.n // 8) - recent)

    def is_stranger(self, key: bytes) -> bool:
        """Whether a key is not on the list."""
        return key not in self.rules.keys

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
        strangers = sum(map(self.is_stranger, keys))
        if strangers > self.strangers_max():
            text = f"{strangers} strangers are to enter, at most {self.strangers_max()} may"
            raise BadSignature(f"{text} in {WINDOW_ROUNDS} rounds")
        if not self.has_room(len(keys), listed):
            text = f"{len(keys)} are to enter besides {self.electorate.n}"
            raise BadSignature(
                f"{text}, and the {listed} listed would be no quorum, or 64 are full"
            )

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
            if not has_worked(self.job, key, application.nonce, self.rules.work_bits):
                raise PeerError(f"the proof of work lacks {self.rules.work_bits} zero bits")
        return key

    def choose(self, applications: Mapping[bytes, Signed]) -> tuple[Signed, ...]:
        """Those that check, as many strangers among them as may enter at once: listed ones first.

        Whose turn it is among strangers, a hash decides that is another one each round.
        """
        place = self.job + self.round.to_bytes(8, "big")
        listed = sorted(key for key in applications if not self.is_stranger(key))
        others = sorted(
            applications.keys() - {*listed}, key=lambda key: digest("admission turn", place + key)
        )
        return tuple(applications[key] for key in (*listed, *others[: self.strangers_max()]))

    def fitting(self, chosen: Sequence[Signed], listed: int) -> tuple[Signed, ...]:
        """As many of them, from the first, as a list may seat; by rising key."""
        most = next(k for k in range(len(chosen), -1, -1) if self.has_room(k, listed))
        return tuple(sorted(chosen[:most], key=lambda signed: signed.signer))


def has_worked(job: JobId, key: bytes, nonce: int, bits: int) -> bool:
    """Whether a nonce proves work for a key in a job: its digest begins with zero bits."""
    work = digest("admission work", job + key + nonce.to_bytes(8, "big"))
    return int.from_bytes(work, "big") >> (8 * len(work) - bits) == 0


def work(job: JobId, key: bytes, bits: int, first: int, count: int) -> int | None:
    """The first of ``count`` nonces from ``first`` that proves work; None: none of them does."""
    tried = range(first, first + count)
    return next((nonce for nonce in tried if has_worked(job, key, nonce, bits)), None)
