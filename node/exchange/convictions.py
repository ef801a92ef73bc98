"""Who is proven to have lied, as far as one round is told: checked once, kept, passed on once.

Pure; part of ``RoundMachine``. Who finds a contradiction tells everybody, and so does everybody who
is told. At the beginning of each view its leader is told, since evidence takes effect by its list.
docs/protocol.md, "Evidence".
"""

from collections.abc import Callable, Iterable, Mapping

from node.errors import PeerError
from node.exchange.effects import Convicted, Effect, Send
from node.exchange.watching import Watch
from node.identity import Verifier
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused, offender
from node.ledger.succession import Terms, electorate_of
from node.types import Digest, JobId
from node.wire.convert import encode_vote
from node.wire.messages import Evidence, Signed, Vote, VoteSignature


class Convictions:
    """The convicted electors of one round.

    Args:
        job: of the round.
        round_: its number.
        electorate: its electors.
        me: our index, or None.
        verify: checks signatures.
        emit: takes effects.
        terms: the job's electorates so far.
    """

    def __init__(
        self,
        job: JobId,
        round_: int,
        electorate: Electorate,
        me: int | None,
        verify: Verifier,
        emit: Callable[[Effect], None],
        terms: Terms = (),
    ) -> None:
        self.held: dict[int, Evidence] = {}
        """Elector -> the proof that it lied; of this round or an earlier one, of any job."""
        self._job, self._round = job, round_
        self._electorate = electorate
        self._me = me
        self._verify = verify
        self._emit = emit
        self._terms = terms
        self._strangers: list[Evidence] = []
        """Evidence of checked lists against who is no elector: a few pieces a list."""
        self._watch = Watch()
        self._aware: dict[int, set[int]] = {}
        """Convicted elector -> electors that told us, or were told."""

    def restore(self, evidence: Mapping[int, Evidence]) -> None:
        """Take over what is on disk, and was checked before it came there."""
        self.held.update(evidence)

    # What is found here ------------------------------------------------------------------------

    def see(self, elector: int, signed: Signed) -> None:
        """Compare a message whose signature was checked with what else its signer said."""
        found = self._watch.see(elector, signed)
        if found is not None and elector not in self.held:
            self._convict(elector, found)
            self._tell(elector, range(self._electorate.n))

    def see_votes(self, kind: str, view: int, id_: Digest, votes: Iterable[VoteSignature]) -> None:
        """The same for the votes of a quorum that was checked: they are signed messages too."""
        body = encode_vote(Vote(view, id_))
        for vote in votes:
            key = self._electorate.keys[vote.elector][0]
            self.see(vote.elector, Signed(kind, self._job, self._round, key, body, vote.signature))

    # What others prove -------------------------------------------------------------------------

    def check(self, evidence: Evidence) -> int:
        """The elector that a piece of evidence (peer input) convicts; remembered from now on.

        Raises:
            PeerError: it proves nothing, or not against an elector of this round.
        """
        elector = self._elector(evidence)
        if self.held.get(elector) != evidence:
            offender(evidence, self._verify, self._electors)
            self._convict(elector, evidence)
        return elector

    def check_stranger(self, evidence: Evidence) -> None:
        """Check evidence (peer input) against who is no elector.

        Raises:
            PeerError: it proves nothing.
        """
        if evidence not in self._strangers:
            offender(evidence, self._verify, self._electors)
            self._strangers.append(evidence)

    def on_evidence(self, sender: int, evidence: Evidence) -> None:
        """An elector sends evidence: check it, keep it, pass it on once.

        Raises:
            PeerError: as in ``check``.
        """
        elector = self._elector(evidence)
        new = elector not in self.held
        if new:
            self.check(evidence)
        self._aware.setdefault(elector, set()).add(sender)
        if new:
            self._tell(elector, range(self._electorate.n))

    def tell(self, elector: int) -> None:
        """Let an elector have all that we hold: it begins to lead."""
        for convicted in sorted(self.held):
            self._tell(convicted, (elector,))

    def _elector(self, evidence: Evidence) -> int:
        elector = self._electorate.index(accused(evidence))
        if elector is None:
            raise PeerError("evidence against somebody who is no elector of this round")
        return elector

    def _electors(self, job: JobId, round_: int) -> Electorate | None:
        return electorate_of(self._terms, round_) if job == self._job else None

    def _convict(self, elector: int, evidence: Evidence) -> None:
        if elector not in self.held:
            self.held[elector] = evidence
            self._emit(Convicted(elector, evidence))

    def _tell(self, convicted: int, electors: Iterable[int]) -> None:
        aware = self._aware.setdefault(convicted, set())
        fresh = tuple(e for e in electors if e not in aware and e != self._me)
        aware.update(fresh)
        if fresh:
            self._emit(Send(fresh, self.held[convicted]))
