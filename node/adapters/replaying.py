"""Beside a workload: its local states of the last rounds, and a second replica for audits.

Used by a worker process and by the simulator's workers alike.
"""

from collections.abc import Callable

from node.jobs.encoding import optimizer_hash
from node.ports import LOCAL_STATES_KEPT, FloatVector, ReplayRequest, Shard
from workloads import api


class Replaying:
    """Local states of one workload, and the replays on a second instance of it.

    Args:
        workload: the node's own replica.
        make: a new instance of the workload on one shard of the data.
    """

    def __init__(self, workload: api.Workload, make: Callable[[Shard], api.Workload]) -> None:
        self._workload = workload
        self._make = make
        self._kept: dict[int, bytes] = {}
        self._second: tuple[Shard, api.Workload] | None = None

    def begin(self, round_: int) -> bytes:
        """Keep the local state from before ``round_``; its digest."""
        kept = _replayable(self._workload).local_state()
        self._kept[round_] = kept
        for old in sorted(self._kept)[:-LOCAL_STATES_KEPT]:
            del self._kept[old]
        return optimizer_hash(kept)

    def end(self) -> bytes:
        """Digest of the local state now."""
        return optimizer_hash(_replayable(self._workload).local_state())

    def opening(self, round_: int) -> bytes | None:
        """The local state from before ``round_``, if it is still kept."""
        return self._kept.get(round_)

    def revert(self, round_: int) -> None:
        """Let the own replica return to it, if it is still kept."""
        kept = self._kept.get(round_)
        if kept is not None:
            _replayable(self._workload).load_local_state(kept)

    def replay(self, request: ReplayRequest) -> tuple[FloatVector, bytes] | None:
        """(update, digest of the local state after it); None: it is no local state."""
        if self._second is None or self._second[0] != request.shard:
            self._second = (request.shard, self._make(request.shard))
        second = self._second[1]
        try:
            _replayable(second).load_local_state(request.local_state)
        except api.WorkloadError:
            return None
        update = second.train(
            request.params,
            round_=request.round,
            rounds=request.rounds,
            data_seed=request.data_seed,
            steps=request.steps,
            deadline_s=request.steps_done,
            continued=False,
            clock=api.step_clock(),
        ).update
        return update, optimizer_hash(_replayable(second).local_state())


def _replayable(workload: api.Workload) -> api.Replayable:
    assert isinstance(workload, api.Replayable), "the node asks this of replayable workloads only"
    return workload
