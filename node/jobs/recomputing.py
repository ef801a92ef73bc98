"""Openings of parts: drawn parts of checked rounds are computed again from their committed rows.

Flow. The drawn elector asks each contributor for its row, and recomputes screen and result bit for
bit. If they are false, or a row is not given, it says so to all, and everybody looks. What it finds
false convicts (``refuting``).
docs/protocol.md, "Openings of parts".
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from node.errors import Malformed, Refused
from node.exchange.redrawing import drawn_parts, recomputer
from node.identity import public_key_of
from node.jobs.courier import Counters, Courier
from node.jobs.deps import RunnerDeps
from node.jobs.manifest import SignedManifest
from node.jobs.progress import Audits
from node.jobs.refuting import Convict, Refuting
from node.jobs.round_flow import RoundOutcome
from node.jobs.round_work import S_PER_PARAM
from node.jobs.sketching import CheckedRound, recomputed, refuted_by
from node.merkle import leaf
from node.types import Digest, JobId, PeerId

ROW_METHOD = "row/1"
OBJECTION_METHOD = "objection/1"
REQUEST_BYTES = 32 + 8 + 1
KEPT_ROUNDS = 8
"""Rounds after its own in which a part can be computed again."""
GIVEN_MAX = 4
"""Times that one elector is given one row."""
ASK_S_MAX = 20.0
TRIES = 3
WAITING_MAX = 256
"""Parts that wait to be computed again."""


def encode_place(job: JobId, round_: int, part: int) -> bytes:
    """Request of both methods."""
    return job + round_.to_bytes(8, "big") + bytes([part])


def decode_place(data: bytes) -> tuple[JobId, int, int]:
    """Inverse of ``encode_place``.

    Raises:
        Malformed: a wrong length.
    """
    if len(data) != REQUEST_BYTES:
        raise Malformed(f"{len(data)} bytes to name a part, {REQUEST_BYTES} expected")
    return JobId(Digest(data[:32])), int.from_bytes(data[32:40], "big"), data[40]


@dataclass
class _Drawn:
    """One part that may be computed again."""

    round: CheckedRound
    part: int
    auditor: int
    own_row: bytes
    is_done: bool = False
    given: Counter[PeerId] = field(default_factory=Counter)


class Recomputing:
    """Openings of parts of one job on one node.

    Args:
        deps: the node.
        signed: the job; ``audit.rate`` is the chance that a part of a checked round is drawn.
        counters: traffic of the job.
        shown: what status shows.
    """

    def __init__(
        self, deps: RunnerDeps, signed: SignedManifest, counters: Counters, shown: Audits
    ) -> None:
        self._deps = deps
        self._job = signed.job_id
        self._rate = signed.manifest.audit.rate
        self._counters = counters
        self._shown = shown
        self._drawn: dict[tuple[int, int], _Drawn] = {}
        """(round, part) -> what is kept of it."""
        self._queue: asyncio.Queue[_Drawn] = asyncio.Queue(WAITING_MAX)
        self.refuting = Refuting(deps, signed.job_id, counters, shown)

    def closed(self, outcome: RoundOutcome) -> None:
        """A round was certified: compare what its reducers answered, draw parts."""
        checked = outcome.checked
        self.refuting.closed(outcome.decision.round, outcome.answered)
        if checked is None:
            return
        context, resolution = checked.context, checked.plan.resolution
        oldest = context.round - KEPT_ROUNDS
        self._drawn = {place: d for place, d in self._drawn.items() if place[0] > oldest}
        for part in drawn_parts(checked.beacon, len(checked.roots), self._rate):
            reducers = resolution.reducers[part]
            auditor = recomputer(checked.beacon, part, reducers, context.electorate)
            if auditor is None:
                continue
            mine = checked.own_parts[part] if checked.own_parts else b""
            drawn = self._drawn[context.round, part] = _Drawn(checked, part, auditor, mine)
            if auditor == context.me:
                self._look_into(drawn)

    def _look_into(self, drawn: _Drawn) -> None:
        reducers = drawn.round.plan.resolution.reducers[drawn.part]
        if not drawn.is_done and drawn.round.context.me not in reducers and not self._queue.full():
            drawn.is_done = True
            self._queue.put_nowait(drawn)

    # Methods -----------------------------------------------------------------------------------

    def row(self, peer: PeerId, round_: int, part: int) -> bytes:
        """Reply of "row/1": our own encoded part of a round in which it was drawn.

        Raises:
            Refused: it was not, or the asker is no elector of it, or asked too often.
        """
        drawn = self._held(peer, round_, part)
        drawn.given[peer] += 1
        if drawn.given[peer] > GIVEN_MAX or not drawn.own_row:
            raise Refused("that row was given often enough, or is not here")
        self._counters.bytes_up += len(drawn.own_row)
        self._shown.bytes_opened += len(drawn.own_row)
        return drawn.own_row

    def on_objection(self, peer: PeerId, round_: int, part: int) -> None:
        """The drawn elector says that a part is false: look too.

        Raises:
            Refused: nothing is known of that part here.
        """
        drawn = self._held(peer, round_, part)
        if drawn.round.context.electorate.ids[drawn.auditor] == peer:
            self._look_into(drawn)

    def _held(self, peer: PeerId, round_: int, part: int) -> _Drawn:
        drawn = self._drawn.get((round_, part))
        if drawn is None or drawn.round.context.electorate.index(public_key_of(peer)) is None:
            raise Refused("that part was not drawn, or its round is not over here")
        return drawn

    # Looking -----------------------------------------------------------------------------------

    async def run(self, courier: Courier, may_sign: bool, convict: Convict) -> None:
        """Compute parts again, one after the other; see ``Refuting.run``."""
        await asyncio.gather(self.refuting.run(courier, may_sign, convict), self._run(courier))

    async def _run(self, courier: Courier) -> None:
        while True:
            await self._recompute(courier, await self._queue.get())

    async def _recompute(self, courier: Courier, drawn: _Drawn) -> None:
        checked, part = drawn.round, drawn.part
        contributors = checked.plan.resolution.contributors
        rows = [await self._row(courier, drawn, elector) for elector in contributors]
        ids = checked.context.electorate.ids
        silent = [ids[e] for e, row in zip(contributors, rows, strict=True) if row is None]
        verdict, why = "part_unopened", ""
        if not silent:
            held = [row for row in rows if row is not None]
            truth = await self._deps.ports.compute.maths(
                lambda: recomputed(checked, part, held),
                cost_s=len(held) * checked.g.part_sizes[part] * S_PER_PARAM,
            )
            self.refuting.learn(checked.context.round, truth)
            why = refuted_by(checked, truth)
            verdict = "part_false" if why else "part_ok"
        self._shown.done = Counter(self._shown.done) + Counter([verdict])
        round_ = checked.context.round
        self._deps.on_event(
            "recomputed", round=round_, part=part, verdict=verdict, why=why, silent=silent
        )
        if verdict != "part_ok" and drawn.auditor == checked.context.me:
            others = [peer for e, peer in enumerate(ids) if e != checked.context.me]
            request = encode_place(self._job, round_, part)
            await asyncio.gather(
                *(self._ask(courier, peer, OBJECTION_METHOD, request, 64) for peer in others)
            )

    async def _row(self, courier: Courier, drawn: _Drawn, elector: int) -> bytes | None:
        """A contributor's row as it committed to it; None: it does not give it."""
        context, part = drawn.round.context, drawn.part
        if elector == context.me:
            return drawn.own_row or None
        peer = context.electorate.ids[elector]
        request = encode_place(self._job, context.round, part)
        bound = drawn.round.commitments[elector].parts[part].leaf

        def is_bound(row: bytes) -> bool:
            return leaf("update", self._job, context.round, peer, part, row) == bound

        size = context.rules.part_bytes[part]
        return await self._ask(courier, peer, ROW_METHOD, request, size, is_bound)

    async def _ask(
        self,
        courier: Courier,
        peer: PeerId,
        method: str,
        request: bytes,
        reply_bytes_max: int,
        is_good: Callable[[bytes], bool] = lambda reply: True,
    ) -> bytes | None:
        """The first good answer in some tries: the other's round may not be over yet."""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(0.5 * 2**attempt)
            reply = await courier.ask(peer, method, request, reply_bytes_max, timeout_s=ASK_S_MAX)
            if reply is not None and is_good(reply):
                return reply
        return None
