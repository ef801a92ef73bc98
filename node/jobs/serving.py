"""What one job answers to peers that catch up: certificates, hashes and chunks of recent states.

Flow. Anybody may ask: what is served is public in the swarm and verifies by itself.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from node.errors import Refused
from node.jobs.geometry import Geometry
from node.jobs.records import JobRecords
from node.ports import Compute
from node.state.outer import OuterState
from node.state.snapshot import chunk, chunk_hashes
from node.types import Digest
from node.wire.chain_messages import ChainRequest, StateRequest
from node.wire.convert_ledger import encode_chain, encode_state_reply

STATES_KEPT = 3
"""States that can be fetched: the newest and those just before it."""


@dataclass
class Shelf:
    """Recent states of one job by root, and its certificates."""

    records: JobRecords
    compute: Compute
    g: Geometry
    _states: OrderedDict[Digest, OuterState] = field(default_factory=OrderedDict)
    _hashes: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)

    def add(self, state_root: Digest, state: OuterState) -> None:
        """Serve ``state`` from now on; the oldest goes."""
        self._states[state_root] = state
        self._states.move_to_end(state_root)
        while len(self._states) > STATES_KEPT:
            old, _ = self._states.popitem(last=False)
            self._hashes.pop(old, None)

    async def chain(self, request: ChainRequest) -> bytes:
        """Reply of "chain/1"."""
        return encode_chain(await self.records.certificates(request.from_round, request.count))

    async def hashes(self, request: StateRequest) -> bytes:
        """Reply of "state/1".

        Raises:
            Refused: this state is not held, or no longer.
        """
        state = self._state(request)
        known = self._hashes.get(request.state_root)
        if known is None:
            known = await self.compute.maths(
                lambda: chunk_hashes(state, self.g.shapes), cost_s=self.g.d * 2e-9
            )
            self._hashes[request.state_root] = known
        return encode_state_reply(known)

    async def chunks(self, request: StateRequest) -> AsyncIterator[bytes]:
        """Chunks of "chunks/1", in the order asked."""
        state = self._state(request)
        for index in request.chunks:
            try:
                yield chunk(state, self.g.shapes, index)
            except IndexError as error:
                raise Refused(f"no chunk {index}") from error

    def _state(self, request: StateRequest) -> OuterState:
        state = self._states.get(request.state_root)
        if state is None:
            raise Refused("this state is not held here")
        return state
