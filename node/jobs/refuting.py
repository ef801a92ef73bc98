"""False answers of electors: found in what was computed here anyway, signed, and told to all.

Flow. After each round the screens, results and sketches that came here are compared with the own
rows, bit for bit. Who finds one false signs a finding; who is told of an answer that it does not
hold asks the finder for it, and looks too. Enough findings convict. docs/protocol.md, "False
answers".
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

from node.errors import BadSignature, FalseWork, PeerError, Refused
from node.exchange.answers import AnswerTally, Lists, PartTruth, fault
from node.identity import peer_id_of, public_key_of
from node.jobs.answered import Answered, truths_of
from node.jobs.courier import Counters, Courier
from node.jobs.deps import RunnerDeps
from node.jobs.progress import Audits
from node.jobs.telling import sign_finding, tell_electors
from node.ledger.electorate import Electorate
from node.ledger.judging import ANSWERS
from node.types import Digest, JobId, PeerId
from node.wire.audit import Finding, Verdict, decode_finding, encode_answer_request
from node.wire.convert import decode_signed, encode_signed
from node.wire.limits import JUDGED_BYTES_MAX
from node.wire.messages import Evidence, Signed

ANSWER_METHOD = "answer/1"
KEPT_ROUNDS = 8
"""Rounds after its own in which an answer can be found false."""
FOUND_MAX = 8
"""Answers of one elector in one round that are found false: two lists a view, two or three each."""
GIVEN_MAX = 2
"""Times that one elector is given one answer."""
KEPT_BYTES_MAX = 32 << 20
"""Of answers in all rounds; beyond it the oldest rounds go first, and the newest stays."""
WAITING_MAX = 4
"""Rounds that wait to be looked into."""

Convict = Callable[[Evidence], Coroutine[None, None, None]]


@dataclass
class _Round:
    """What is kept of one certified round."""

    electorate: Electorate
    lists: Lists
    answers: dict[Digest, Signed]
    """Those that may yet be found false, and those that were."""
    truths: list[PartTruth] = field(default_factory=list)
    is_ready: bool = False
    """Whether what was computed in the round is in ``truths``."""
    found: dict[Digest, int] = field(default_factory=dict)
    """Answer that is false -> its signer."""
    asked: Counter[PeerId] = field(default_factory=Counter)
    """Finder -> answers that it was asked for."""
    given: Counter[tuple[PeerId, Digest]] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        """Bytes of answers."""
        return sum(len(answer.body) for answer in self.answers.values())


class Refuting:
    """False answers of one job, on one node.

    Args:
        deps: the node.
        job: its job.
        counters: traffic of the job.
        shown: what status shows.
    """

    def __init__(self, deps: RunnerDeps, job: JobId, counters: Counters, shown: Audits) -> None:
        self._deps = deps
        self._job = job
        self._counters = counters
        self._shown = shown
        self._own = deps.signer.public_key
        self._tally = AnswerTally()
        self._rounds: dict[int, _Round] = {}
        self._queue: asyncio.Queue[Answered] = asyncio.Queue(WAITING_MAX)
        self._courier: Courier | None = None
        self._may_sign = False
        self._convict: Convict | None = None

    # Rounds ------------------------------------------------------------------------------------

    def closed(self, round_: int, seen: Answered | None) -> None:
        """A round was certified; None: nothing that it answered is known here."""
        oldest = round_ - KEPT_ROUNDS
        self._rounds = {r: kept for r, kept in self._rounds.items() if r > oldest}
        self._tally.forget(oldest + 1)
        if seen is None or self._queue.full():
            return
        answers = {signed.id: signed for signed in seen.answers}
        self._rounds[round_] = _Round(seen.context.electorate, seen.lists, answers)
        while len(self._rounds) > 1 and sum(r.size for r in self._rounds.values()) > KEPT_BYTES_MAX:
            del self._rounds[min(self._rounds)]
        self._queue.put_nowait(seen)

    async def run(self, courier: Courier, may_sign: bool, convict: Convict) -> None:
        """Look into rounds, one after the other.

        Args:
            courier: asks for answers; its group owns our tasks.
            may_sign: whether this node may sign findings.
            convict: takes evidence that was found here, and checked.
        """
        self._courier, self._may_sign, self._convict = courier, may_sign, convict
        while True:
            seen = await self._queue.get()
            truths = await self._deps.ports.compute.maths(
                partial(truths_of, seen), cost_s=seen.cost_s
            )
            kept = self._rounds.get(seen.context.round)
            if kept is not None:
                kept.truths += truths
                kept.is_ready = True
                self._look(seen.context.round, kept)

    def learn(self, round_: int, truth: PartTruth) -> None:
        """A part of a round was computed again."""
        kept = self._rounds.get(round_)
        if kept is not None:
            kept.truths.append(truth)
            self._look(round_, kept)

    # Looking -----------------------------------------------------------------------------------

    def _look(self, round_: int, kept: _Round) -> None:
        for id_, answer in sorted(kept.answers.items()):
            if id_ not in kept.found:
                self._look_at(round_, kept, answer)

    def _look_at(self, round_: int, kept: _Round, answer: Signed) -> bool:
        """Whether an answer is false, as far as it is known here; then we say so, once."""
        reducer = kept.electorate.index(answer.signer)
        why = fault(answer, kept.lists, kept.truths)
        if not why or reducer is None or answer.signer == self._own:
            return False
        count = sum(r == reducer for r in kept.found.values())
        if count >= FOUND_MAX:
            return False
        kept.answers[answer.id] = answer
        kept.found[answer.id] = reducer
        peer, kind = kept.electorate.ids[reducer], answer.kind
        self._shown.done = Counter(self._shown.done) + Counter(["answer_false"])
        self._deps.on_event("answer_false", round=round_, peer=peer, kind=kind, why=why)
        if not count:
            self._deps.on_blame(peer, FalseWork(f"its {kind} of round {round_} is false: {why}"))
        is_new = peer not in self._shown.convicted
        if is_new and self._may_sign and self._tally.open(answer, kept.electorate):
            self._tell(round_, kept, answer)
        return True

    def _tell(self, round_: int, kept: _Round, answer: Signed) -> None:
        """Sign a finding, count it, and send it to the other electors of its round."""
        assert self._courier is not None
        finding = Finding(answer.id, Verdict.FALSE_ANSWER, b"")
        signed = sign_finding(self._deps, self._job, round_, finding)
        self._count(signed)
        others = [key for key, _ in kept.electorate.keys if key != answer.signer]
        transport, group = self._deps.ports.transport, self._courier.group
        tell_electors(group, transport, self._counters, others, signed)

    def _count(self, finding: Signed) -> None:
        judged = self._tally.add(finding)
        if judged is not None:
            assert self._courier is not None
            assert self._convict is not None
            peer = peer_id_of(judged.first.signer)
            self._shown.convicted.setdefault(peer, judged.first.round)
            self._deps.on_event("judged", peer=peer, round=judged.first.round)
            self._courier.group.create_task(self._convict(judged))

    # Methods -----------------------------------------------------------------------------------

    def on_finding(self, peer: PeerId, finding: Signed, certified: int) -> None:
        """Take a finding on an answer, that its author sent; ``certified``: the last round here.

        Raises:
            Refused: the round is not over here, or not looked into.
            PeerError: another's, or its signature does not verify.
        """
        if public_key_of(peer) != finding.signer:
            raise PeerError("a finding is sent by who signed it")
        kept = self._rounds.get(finding.round)
        if finding.round > certified or (kept is not None and not kept.is_ready):
            raise Refused("that round is not over here")
        if kept is None or kept.electorate.index(finding.signer) is None:
            return
        about = decode_finding(finding.body).about
        held = kept.answers.get(about)
        if held is not None:
            self._tally.open(held, kept.electorate)
            if self._tally.expects(finding):
                self._check(finding)
                self._count(finding)
        elif kept.asked[peer] < FOUND_MAX * max(1, kept.electorate.f):
            self._check(finding)
            kept.asked[peer] += 1
            assert self._courier is not None
            self._courier.group.create_task(self._ask(self._courier, peer, kept, finding))

    def _check(self, finding: Signed) -> None:
        if not finding.holds(self._deps.verify):
            raise BadSignature("the signature of the finding does not verify")

    async def _ask(self, courier: Courier, peer: PeerId, kept: _Round, finding: Signed) -> None:
        """Get an answer that is not held here; if it is false, the finding counts."""
        about, round_ = decode_finding(finding.body).about, finding.round
        request = encode_answer_request(self._job, round_, about)
        data = await courier.ask(peer, ANSWER_METHOD, request, JUDGED_BYTES_MAX + 1024)
        if data is None:
            return
        try:
            answer = decode_signed(data, self._job, round_)
            if answer.id != about or answer.kind not in ANSWERS:
                raise PeerError("not the answer that was asked for")
            if not answer.holds(self._deps.verify):
                raise BadSignature("the signature of the answer does not verify")
            if about in kept.answers or self._look_at(round_, kept, answer):
                self._count(finding)
        except PeerError as error:
            self._deps.on_blame(peer, error)

    def answer(self, peer: PeerId, round_: int, id_: Digest) -> bytes:
        """Reply of "answer/1": an answer that was found false here.

        Raises:
            Refused: there is none, or the asker is no elector of it, or asked too often.
        """
        kept = self._rounds.get(round_)
        if kept is None or id_ not in kept.found:
            raise Refused("nothing false of that name is known here")
        if kept.electorate.index(public_key_of(peer)) is None or kept.given[peer, id_] >= GIVEN_MAX:
            raise Refused("that answer was given often enough, or the asker is no elector of it")
        kept.given[peer, id_] += 1
        data = encode_signed(kept.answers[id_])
        self._counters.bytes_up += len(data)
        return data
