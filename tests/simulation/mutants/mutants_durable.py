"""Bugs in what is durable, and in what a restart or a resync does."""

from mutant_kit import Mutant, swap
from mutant_stage import FaultSection, stage

from node.errors import Malformed
from node.jobs import sync
from node.jobs.records import JobRecords
from node.jobs.replica import Replica
from node.jobs.round_flow import RoundFlow
from node.jobs.runner import JobRunner
from node.ledger.chain import extend
from node.ledger.votes import decision_id
from node.merkle import digest
from node.state.outer import OuterState
from node.wire.convert_ledger import decode_decision
from simulator.scenario import load_scenario


def _forgets(prefix):
    right = JobRecords.put_slots

    async def put_slots(self, round_, slots):
        await right(self, round_, {k: v for k, v in slots.items() if not k.startswith(prefix)})

    return swap(JobRecords, "put_slots", put_slots)


def vote_not_durable():
    return _forgets("vote.")


def lock_not_durable():
    return _forgets("lock")


def sent_before_durable():
    right = RoundFlow._make_durable

    async def later(self, effects):
        self.scope.create_task(right(self, effects))

    return swap(RoundFlow, "_make_durable", later)


def certificate_not_kept():
    async def put_certificates(self, certificates):
        return None

    return swap(JobRecords, "put_certificates", put_certificates)


def restart_commits_anew():
    right = JobRecords.slots

    async def slots(self, round_):
        kept, lock = await right(self, round_)
        kept.pop("commit", None)
        return kept, lock

    return swap(JobRecords, "slots", slots)


def lost_log_signs():
    right = JobRunner.__init__

    def init(self, signed, deps):
        from dataclasses import replace

        right(self, signed, replace(deps, may_vote=True))

    return swap(JobRunner, "__init__", init)


def id_covers_signatures():
    right = Replica.close

    async def close(self, outcome, me):
        before = self.head
        used = await right(self, outcome, me)
        certificate = outcome.certificate
        signatures = b"".join(v.signature for v in certificate.votes)
        id_ = digest("decision", certificate.decision + signatures)
        assert decision_id(certificate.decision) != id_
        self.head = extend(before, outcome.decision, id_)
        return used

    return swap(Replica, "close", close)


def feedback_after_exclusion():
    right = Replica.close

    async def close(self, outcome, me):
        coming = self._local_next
        used = await right(self, outcome, me)
        if coming is not None:
            self.local = coming[1]
        return used

    return swap(Replica, "close", close)


def feedback_after_resync():
    right = Replica.jump

    def jump(self, head, state, decision):
        local = self.local
        right(self, head, state, decision)
        self.local = local

    return swap(Replica, "jump", jump)


def decided_not_applied():
    right = Replica.close

    async def nothing(round_, root):
        return False

    async def close(self, outcome, me):
        self._apply_kept = nothing
        try:
            return await right(self, outcome, me)
        finally:
            del self._apply_kept

    return swap(Replica, "close", close)


def unverified_chain():
    def verify_next(head, certificate, verify):
        decision = decode_decision(certificate.decision)
        return extend(head, decision, decision_id(certificate.decision)), decision

    return swap(sync, "verify_next", verify_next)


def chunk_unchecked():
    class Anything:
        """Equal to every hash."""

        def __eq__(self, other):
            return True

        __hash__ = None

    def assemble(chunks, hashes, root_, shapes, *, momentum):
        try:
            return right(chunks, [sync_hash(c) for c in chunks], root_, shapes, momentum=momentum)
        except Malformed:
            import numpy as np

            params = np.frombuffer(b"".join(chunks[1:]), "<f4").copy()
            return OuterState(params, None)

    from contextlib import ExitStack

    right, sync_hash = sync.assemble, sync.chunk_hash
    stack = ExitStack()
    stack.enter_context(swap(sync, "chunk_hash", lambda data: Anything()))
    stack.enter_context(swap(sync, "assemble", assemble))
    return stack


AWAY = FaultSection(kind="partition", nodes=(0,), round=3, phase="scatter", for_s=6.0)
RESTART = FaultSection(kind="crash", nodes=(1,), round=3, phase="have", for_s=0.2)
LOST = FaultSection(kind="lose_slots", nodes=(1,), round=3, for_s=1.0)

DURABLE = (
    Mutant("vote_not_durable", "A COMMITVOTE is sent without a slot.", ("durable",),
           vote_not_durable, stage()),
    Mutant("lock_not_durable", "The lock is kept in memory only.", ("durable",),
           lock_not_durable, stage()),
    Mutant("sent_before_durable", "Messages leave while their slots are still being written.",
           ("durable",), sent_before_durable, stage()),
    Mutant("certificate_not_kept", "A round's certificate is not written.", ("durable",),
           certificate_not_kept, stage()),
    Mutant("restart_commits_anew", "A restart in mid-round commits to a new update.",
           ("no_equivocation", "durable"), restart_commits_anew, stage(rounds=8, faults=[RESTART])),
    Mutant("lost_log_signs", "A node without its slot log goes on signing.",
           ("silent_after_loss",), lost_log_signs,
           stage(rounds=10, faults=[LOST])),
    Mutant("id_covers_signatures", "The id of a decision covers who signed it.",
           ("sound_chain", "one_decision"), id_covers_signatures, stage()),
    Mutant("feedback_after_exclusion", "Error feedback advances although the update was left out.",
           ("error_feedback",), feedback_after_exclusion,
           stage(7, 8, faults=[FaultSection(kind="partition", nodes=(0,), round=3, phase="train",
                                             for_s=3.0)])),
    Mutant("feedback_after_resync", "Error feedback survives a gap in the chain.",
           ("error_feedback",), feedback_after_resync, stage(5, 30, faults=[AWAY])),
    Mutant("decided_not_applied", "A decision is certified, and its kept results are not applied.",
           ("progress", "recovery", "finish"), decided_not_applied,
           load_scenario("restart_voting", {"limit_s": "300"})),
    Mutant("unverified_chain", "Whoever catches up believes the chain that it is given.",
           ("sound_chain", "one_decision", "credits", "quorum"), unverified_chain,
           stage(5, 30, faults=[AWAY], attack="false_shelf")),
    Mutant("chunk_unchecked", "Chunks of a state are not compared with their hashes.",
           ("state_root", "one_state"), chunk_unchecked,
           stage(5, 30, faults=[AWAY], attack="false_shelf")),
)  # fmt: skip
