"""Whom a follower asks for news, and how often: a few electors in turn, seldom while there is none.

Pure. Any number of nodes may follow a job of 64 electors, so that no follower may ask them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import PeerError, Refused
from node.identity import peer_id_of
from node.jobs.courier import NOT_YET
from node.ledger.chain import Head
from node.ledger.electorate import Electorate
from node.ledger.succession import ABSENT_ROUNDS, electorate_of
from node.merkle import digest
from node.types import PeerId

ASKED_AT_ONCE = 3
"""Electors asked in one look."""
LOOK_S_MIN = 0.5
LOOK_S_MAX = 5.0
"""Pause between two looks: doubles from the least to the most while nothing is new."""


@dataclass
class Following:
    """One follower's turn over the electors.

    The order is drawn by hash of both ids, so that followers spread over all electors. Each look
    asks the next few: whoever lies, is silent or is behind holds a follower up for one look.
    """

    own: PeerId
    _looks: int = 0
    _pause_s: float = LOOK_S_MIN

    def ask(self, electors: Sequence[PeerId]) -> list[PeerId]:
        """Whom this look asks; the next one asks others."""
        drawn = sorted(electors, key=lambda p: digest("source", f"{self.own} {p}".encode()))
        first = self._looks * ASKED_AT_ONCE
        self._looks += 1
        count = min(ASKED_AT_ONCE, len(drawn))
        return [drawn[(first + k) % len(drawn)] for k in range(count)]

    def pause_s(self, news: bool) -> float:
        """Pause after a look that brought ``news``, or none."""
        self._pause_s = LOOK_S_MIN if news else min(2 * self._pause_s, LOOK_S_MAX)
        return self._pause_s


def check_dropped(head: Head, public_key: bytes, round_: int) -> None:
    """Check a message from who is no elector: only one that was dropped may not know better.

    Args:
        head: where the job stands here.
        public_key: of the sender.
        round_: of the message.

    Raises:
        Refused: it may be an elector of that round, which is not known here yet.
        PeerError: it was none, or is banned.
    """
    if round_ > head.round + 1:
        raise Refused(NOT_YET)
    electors = electorate_of(head.terms, round_)
    if electors is None or electors.index(public_key) is None or public_key in head.bans:
        raise PeerError("only electors take part in a round")


def sharing(founders: Electorate, head: Head) -> tuple[PeerId, ...]:
    """Who shares a job's memory: electors, and founders that were dropped, who may still author."""
    banned = {peer_id_of(key) for key in head.bans}
    return tuple(sorted({*founders.ids, *head.electorate.ids} - banned))


def why_following(head: Head, public_key: bytes) -> str:
    """Why the node with this key only follows a job, in words."""
    banned = head.bans.get(public_key)
    if banned is not None:
        return f"banned by the certificate of round {banned}: it lied, as evidence shows"
    member = head.probation.member(public_key)
    if member is not None:
        return f"on probation: {member.passed} of {head.admission.audits} audits passed"
    if any(electors.index(public_key) is not None for _, electors in head.terms):
        return (
            f"following: dropped, since {ABSENT_ROUNDS} rounds in a row went by without this node"
        )
    return "following: this node is not an elector"
