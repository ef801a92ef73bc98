"""The maths of a contributor: from an update and what earlier ones left to bytes and a commitment.

Pure; runs in the maths lane, of auditors too. Shapes: d parameters, cut into P parts by
``Geometry``.
"""

import struct
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from node.errors import Malformed
from node.exchange.feedback import compensate, residual_after
from node.exchange.gram import quantise_row
from node.exchange.momentum import Momentum, advance
from node.jobs.geometry import Geometry
from node.merkle import digest, leaf
from node.ports import FloatVector
from node.types import Digest, PeerId
from node.wire.memory_messages import MemoryLine
from node.wire.messages import Commitment, PartCommitment

ENCODE_S_PER_PARAM = 5e-9
"""Cost of hashing and encoding one parameter, in seconds, for the simulator."""
LOSS_MAX = 1e12
"""Losses are shown, never used; larger ones are shown as this."""


def data_seed(prev: Digest, peer: PeerId) -> bytes:
    """What the data of a contributor's steps is drawn from.

    Args:
        prev: id of the last decision.
        peer: the contributor.
    """
    return digest("data", prev + peer.encode())


@dataclass(frozen=True, eq=False)
class Local:
    """What a contributor carries from one of its updates to the next."""

    residual: FloatVector
    """What compression lost so far. Shape [d]."""
    momentum: Momentum

    @cached_property
    def hashes(self) -> bytes:
        """Of residual and momentum, 64 bytes; ``local_hash`` covers them."""
        weight = struct.pack("<d", self.momentum.weight)
        averaged = weight + self.momentum.average.astype("<f4").tobytes()
        residual = self.residual.astype("<f4").tobytes()
        return digest("local residual", residual) + digest("local momentum", averaged)

    @classmethod
    def new(cls, g: Geometry) -> "Local":
        """Before the first update, and after it had to start anew."""
        averaged = g.d if g.contributor_momentum else 0
        return cls(np.zeros(g.d, np.float32), Momentum.zero(averaged))


def optimizer_hash(local_state: bytes) -> Digest:
    """Names a workload's local state; empty: it has taken no step."""
    return digest("local optimizer", local_state)


def local_hash(optimizer: bytes, local: Local) -> Digest:
    """What a contributor commits to of its local memory.

    Args:
        optimizer: ``optimizer_hash`` of the workload's local state.
        local: residual and momentum.
    """
    return digest("local memory", optimizer + local.hashes)


@dataclass(frozen=True)
class Replayable:
    """What binds an update to the steps that it came from."""

    before: bytes
    after: bytes
    """Digests of the workload's local state around the steps, 32 bytes."""
    compute_class: bytes


@dataclass(frozen=True)
class Encoded:
    """An update on its way out."""

    parts: tuple[bytes, ...]
    commitment: Commitment
    local: Local
    """What stays here if the contribution is used."""


def encode_update(
    g: Geometry,
    update: FloatVector,
    local: Local,
    *,
    round_: int,
    peer: PeerId,
    prev: Digest,
    root: Digest,
    steps: int,
    loss: float,
    memory: tuple[MemoryLine, ...] = (),
    replayable: Replayable | None = None,
    cleared: tuple[Digest, ...] = (),
) -> Encoded:
    """Encode ``update + residual`` part by part and bind us to it, after the job's momentum.

    Args:
        g: Geometry of the job.
        update: Shape [d].
        local: What earlier updates left.
        round_: The round.
        peer: Ourselves.
        prev: Id of the last decision.
        root: Root of the state that training started from.
        steps: Local steps done.
        loss: Mean training loss.
        memory: What we hold of the job's shared memory, by rising public key.
        replayable: What an auditor needs to know; None: nobody can replay the round.
        cleared: What we audited and found true, rising.
    """
    momentum = local.momentum
    if g.contributor_momentum:
        momentum = advance(momentum, update, g.contributor_momentum)
        update = momentum.update
    parts: list[bytes] = []
    bound: list[PartCommitment] = []
    residual = local.residual
    lost = np.empty_like(residual)
    for index, at in enumerate(g.slices):  # a part at a time, while it is in cache
        x = compensate(update[at], residual[at])
        data = g.codec.encode(x)
        try:
            decoded = g.codec.decode(data, len(x))
            row = quantise_row(decoded)
            norm, exponent = row.sq_norm, row.exponent
        except (Malformed, ValueError):  # only an attack encodes what nobody can decode
            decoded, norm, exponent = np.zeros_like(x), 0, 0
        parts.append(data)
        place = leaf("update", g.job, round_, peer, index, data)
        bound.append(PartCommitment(place, norm, exponent))
        lost[at] = residual_after(x, decoded)
    shown = loss if abs(loss) < LOSS_MAX else LOSS_MAX
    commitment = Commitment(
        prev, root, tuple(bound), steps, round(shown * 1e6), memory=memory, cleared=cleared
    )
    after = Local(lost, momentum)
    if replayable is not None:
        commitment = replace(
            commitment,
            local_before=local_hash(replayable.before, local),
            local_after=local_hash(replayable.after, after),
            compute_class=replayable.compute_class,
        )
    return Encoded(tuple(parts), commitment, after)
