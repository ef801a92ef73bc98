"""What is answered of a part, against what its committed rows give: lies are evidence.

Pure. Leaves bind every row to its commitment, and the arithmetic is the same bits on every machine.
So whoever computed a part knows each screen, result and sketch that names the same commitments, bit
for bit, whoever else reduced it. Only what was signed counts: a row that did not arrive, or arrived
with other bytes, is nobody's lie. docs/protocol.md, "False answers".

Source: Gorbunov et al. 2022, arXiv:2106.11257, Algorithm 3 (who accuses a wrong aggregate makes all
    compute it again). Differs: findings are signed, f + 1 of them convict, and the chain tells
    others what they are worth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from node.exchange.reduction import restricted_gram
from node.ledger.electorate import Electorate
from node.ledger.judging import ANSWERS, convicting
from node.types import Digest
from node.wire.audit import Verdict, decode_finding
from node.wire.convert import decode_results, decode_screens, decode_sketches
from node.wire.limits import JUDGED_BYTES_MAX
from node.wire.messages import Judgement, PartScreen, Signed

OF_BYTES = ("malformed", "bad_norm")
"""Complaints that speak of committed bytes, so that everybody who holds the row can check them."""
Lists = Mapping[Digest, Mapping[int, Digest]]
"""List -> elector -> the commitment that it names."""


@dataclass(frozen=True, eq=False)
class PartTruth:
    """What was computed here of one part."""

    ids: Mapping[int, Digest]
    """Elector -> its commitment."""
    screen: PartScreen
    """Of their rows; complaints that do not speak of committed bytes say nothing."""
    roots: Mapping[Digest, Digest] = field(default_factory=dict)
    """Plan -> root of the part's result, where it was computed."""
    sketches: Mapping[tuple[Digest, bytes], bytes] = field(default_factory=dict)
    """(Beacon, public key) -> packed sketch of the key's row, where it was computed."""


def fault(answer: Signed, lists: Lists, truths: Iterable[PartTruth]) -> str:
    """Why an answer is false; empty: nothing that is known here says so.

    Args:
        answer: a screen, result or sketch.
        lists: of its round, verified.
        truths: of its round.
    """
    if answer.kind == "result":
        results = decode_results(answer.body)
        told = dict(results.results)
        for truth in truths:
            part, root = truth.screen.part, truth.roots.get(results.plan_id)
            if root is not None and told.get(part, root) != root:
                return f"the result of part {part} is not that of its rows"
        return ""
    if answer.kind == "sketch":
        sketches = decode_sketches(answer.body)
        key = sketches.beacon_id, answer.signer
        for truth in truths:
            part, sketch = truth.screen.part, truth.sketches.get(key)
            if sketch is not None and sketches.parts[part : part + 1] != (sketch,):
                return f"the sketch of part {part} is not that of its row"
        return ""
    screens = decode_screens(answer.body)
    of_part = {screen.part: screen for screen in screens.screens}
    ids = lists.get(screens.list_id, {})
    faults = (
        _screen_fault(of_part[truth.screen.part], ids, truth)
        for truth in truths
        if truth.screen.part in of_part
    )
    return next(filter(None, faults), "")


def _screen_fault(screen: PartScreen, ids: Mapping[int, Digest], truth: PartTruth) -> str:
    same = {e for e, id_ in truth.ids.items() if ids.get(e) == id_}
    bad = {e: why for e, why in truth.screen.complaints if e in same and why in OF_BYTES}
    good = [e for e in truth.screen.rows if e in same]
    for elector in screen.rows:
        if elector in bad:
            return f"it takes a row of part {screen.part} whose bytes are {bad[elector]}"
    for elector, why in screen.complaints:
        if why in OF_BYTES and (elector in good or bad.get(elector, why) != why):
            return f"it calls a row of part {screen.part} {why}, whose bytes are not"
    common = [e for e in good if e in screen.rows]
    if restricted_gram(screen, common) != restricted_gram(truth.screen, common):
        return f"the Gram matrix of part {screen.part} is not that of its rows"
    return ""


@dataclass
class _Case:
    answer: Signed
    electorate: Electorate
    findings: dict[bytes, Signed] = field(default_factory=dict)
    """Elector -> its finding."""


class AnswerTally:
    """Counts findings on answers. As many as convict make a judgement, once a key."""

    def __init__(self) -> None:
        self._cases: dict[Digest, _Case] = {}
        self._convicted: set[bytes] = set()

    def open(self, answer: Signed, electorate: Electorate) -> bool:
        """Count findings on an answer of one of these electors; False: too large to be judged."""
        if answer.kind in ANSWERS and len(answer.body) <= JUDGED_BYTES_MAX:
            self._cases.setdefault(answer.id, _Case(answer, electorate))
        return answer.id in self._cases

    def forget(self, before_round: int) -> None:
        """Let go of the answers of earlier rounds."""
        cases = self._cases.items()
        self._cases = {i: case for i, case in cases if case.answer.round >= before_round}

    def expects(self, finding: Signed) -> bool:
        """Whether a finding (in form) on an open case would be its signer's first there."""
        value = decode_finding(finding.body)
        case = self._cases.get(value.about)
        return (
            case is not None
            and value.verdict is Verdict.FALSE_ANSWER
            and (finding.job, finding.round) == (case.answer.job, case.answer.round)
            and finding.signer not in (case.answer.signer, *case.findings)
            and case.electorate.index(finding.signer) is not None
        )

    def add(self, finding: Signed) -> Judgement | None:
        """Count a finding whose signature was checked; the judgement that it completes."""
        if not self.expects(finding):
            return None
        case = self._cases[decode_finding(finding.body).about]
        case.findings[finding.signer] = finding
        key = case.answer.signer
        if len(case.findings) < convicting(case.electorate) or key in self._convicted:
            return None
        self._convicted.add(key)
        return Judgement(case.answer, tuple(found for _, found in sorted(case.findings.items())))
