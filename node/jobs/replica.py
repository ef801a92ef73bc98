"""This node's copy of a job: how far its chain goes, the state, and what is local to the node.

Flow over the job's records. The state is always one that a certificate names, or the first one.
Error feedback and a contributor's momentum advance if and only if its contribution was used.
docs/protocol.md, "Local memory".
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from node.exchange.core import RoundContext, RoundRules
from node.exchange.deadlines import Deadlines
from node.identity import Verifier
from node.jobs.encoding import Encoded, Local
from node.jobs.geometry import Geometry
from node.jobs.records import JobRecords
from node.jobs.round_flow import RoundOutcome
from node.jobs.serving import Shelf
from node.jobs.work import apply_results, start_state
from node.ledger.admission import Entrants
from node.ledger.chain import Head, extend
from node.ledger.votes import decision_id
from node.ports import Compute, FloatVector
from node.state.outer import OuterState
from node.state.snapshot import state_root
from node.types import Digest
from node.wire.messages import Decision

S_PER_PARAM = 5e-9
"""Cost of one step of the state for one parameter, in seconds, for the simulator."""
SNAPSHOT_PAUSE = 30.0
"""Pause after a snapshot, in times its own duration: it takes a thirtieth of the time."""
ROUNDS_KEPT = 2
"""Certified rounds whose slots, parts and results stay on disk once a state covers them."""


@dataclass
class Replica:
    """Chain head, state and local memory of one job."""

    head: Head
    g: Geometry
    records: JobRecords
    compute: Compute
    shelf: Shelf
    state: OuterState
    root: Digest
    local: Local
    """What of this node's own updates lives on from round to round."""
    skipped: bool = False
    """The last round was a SKIP: local steps go on from where they stand."""
    after_skip: bool = False
    """The last certified round was a SKIP, whether this node took part in it or not."""
    auditable: bool = False
    """Local memory must follow from contributions that others can audit."""
    _local_next: tuple[Digest, Local] | None = None
    """(last decision when it was encoded, local memory if that contribution is used)."""
    _snapshot_due: asyncio.Event = field(default_factory=asyncio.Event)
    _snapshot_round: int = -1
    _snapshot_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_current(self) -> bool:
        """Whether the state is that of the chain's head."""
        return self.head.state_root in (None, self.root)

    @classmethod
    async def restore(
        cls,
        initial: FloatVector,
        head: Head,
        g: Geometry,
        records: JobRecords,
        compute: Compute,
        verify: Verifier,
    ) -> "Replica":
        """What is on disk, else the first state.

        Args:
            initial: first parameters of the job. Shape [d].
            head: head before round 1.
            g: geometry of the job.
            records: the job's disk.
            compute: the maths lane.
            verify: checks the chain on disk, which a faulty disk may have changed.
        """
        head, heads = await records.chain(head, verify)
        state = start_state(g, initial)
        root = state_root(state, g.shapes)
        shelf = Shelf(records, compute, g)
        replica = cls(head, g, records, compute, shelf, state, root, Local.new(g))
        at = await replica._load_newest(heads)
        replica._snapshot_round = at or -1
        before = heads.get(head.round - 1)
        replica.after_skip = head.skips > (before.skips if before else 0)
        await replica._roll_forward(heads, at)
        replica._publish()
        return replica

    async def _load_newest(self, heads: dict[int, Head]) -> int:
        """The newest state on disk that a certificate names; its round, 0 for the first state."""
        for round_ in sorted(heads, reverse=True):
            kept = await self.records.state(round_)
            root = heads[round_].state_root
            if kept and root and state_root(kept[0], self.g.shapes) == root:
                self.state, self.root = kept[0], root
                return round_
        return 0

    async def _roll_forward(self, heads: dict[int, Head], at: int) -> None:
        """Apply kept results of later rounds, as far as they lead to what was certified."""
        for round_ in range(at + 1, self.head.round + 1):
            root = heads[round_].state_root
            if root == self.root:  # a SKIP
                continue
            if root is None or not await self._apply_kept(round_, root):
                return

    async def _apply_kept(self, round_: int, root: Digest) -> bool:
        """Go on by the results on disk; False if they are not there or do not lead to ``root``."""
        results = await self.records.results(round_, self.g.rules.result_bytes)
        if results is None:
            return False
        after, found = await self._apply(results)
        if found == root:
            self.state, self.root = after, found
        return found == root

    async def _apply(self, results: Sequence[bytes]) -> tuple[OuterState, Digest]:
        state = self.state
        return await self.compute.maths(
            lambda: apply_results(self.g, state, results), cost_s=self.g.d * S_PER_PARAM
        )

    # Rounds ------------------------------------------------------------------------------------

    def context(
        self,
        me: int | None,
        rules: RoundRules,
        deadlines: Deadlines,
        wide_first: bool,
        quiet: frozenset[int],
        entrants: Entrants,
    ) -> RoundContext:
        """Facts of the next round.

        Args:
            me: our index in the electorate, if we are in it.
            rules: those of the round's electorate.
            deadlines: of this node.
            wide_first: see docs/protocol.md, "Leader".
            quiet: electors for whose commitment nobody waits here.
            entrants: see ``RoundContext``.
        """
        head = self.head
        return RoundContext(
            job=head.job,
            round=head.round + 1,
            prev=head.id,
            state_root=self.root,
            electorate=head.electorate,
            me=me,
            rules=rules,
            deadlines=deadlines,
            lease_until_round=head.lease_until_round,
            memory=head.memory,
            wide_first=wide_first,
            quiet=quiet,
            terms=head.terms,
            door=head.door,
            entrants=entrants,
            vetting=head.vetting,
        )

    def encoded(self, prev: Digest, encoded: Encoded) -> None:
        """Our update of this round is encoded; what it leaves counts only if it is used."""
        self._local_next = (prev, encoded.local)

    async def close(self, outcome: RoundOutcome, me: int | None) -> bool:
        """Keep the certificate, take the state, settle local memory.

        Returns:
            Whether the contribution that was encoded here was used.
        """
        decision = outcome.decision
        await self.records.put_certificates({decision.round: outcome.certificate})
        coming = self._local_next
        used = me in {e for e, _ in decision.plan}
        used = used and coming is not None and coming[0] == self.head.id
        if used and coming is not None:
            self.local = coming[1]
        self._local_next = None
        if self.auditable and self.after_skip and not decision.skip:
            self.local = Local.new(self.g)  # nobody could audit what would be carried on
        self.skipped = self.after_skip = decision.skip
        self.head = extend(self.head, decision, decision_id(outcome.certificate.decision))
        if outcome.state is not None:
            self.state, self.root = outcome.state, decision.state_root
            self._publish()
        elif not decision.skip and await self._apply_kept(decision.round, decision.state_root):
            # Votes that all sent again after a restart may decide before anybody computed anew.
            self._publish()
        return used

    def jump(self, head: Head, state: OuterState | None, decision: Decision | None) -> None:
        """Go to a later head that others proved, with its state; local memory starts anew.

        Args:
            head: where the chain ends.
            state: its state; None: it has not changed.
            decision: the last one; None: the head has not moved.
        """
        if decision is not None:
            self.after_skip = decision.skip
        self.head = head
        if state is not None:
            assert head.state_root is not None
            self.state, self.root = state, head.state_root
            self._publish()
        self.local = Local.new(self.g)
        self._local_next = None
        self.skipped = False

    # Snapshots ---------------------------------------------------------------------------------

    def _publish(self) -> None:
        self.shelf.add(self.root, self.state)
        self._snapshot_due.set()

    async def run_snapshots(self) -> None:
        """Write the newest state after rounds, in the background, in a small share of the time.

        What was certified since is on disk as results, from which ``restore`` goes on.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._snapshot_due.wait()
            self._snapshot_due.clear()
            started = loop.time()
            await self.snapshot()
            await asyncio.sleep(SNAPSHOT_PAUSE * (loop.time() - started))

    async def snapshot(self) -> None:
        """Write the state now; what it makes needless goes."""
        async with self._snapshot_turn:
            round_, state, root = self.head.round, self.state, self.root
            if round_ == self._snapshot_round or not self.is_current:
                return
            await self.records.put_state(round_, state, self.g.shapes, root.hex())
            previous, self._snapshot_round = self._snapshot_round, round_
            if previous >= 0:
                await self.records.drop_blobs("state", previous)
            for old in range(max(1, previous - ROUNDS_KEPT), round_ - ROUNDS_KEPT + 1):
                await self.records.drop_round(old)
