"""The five things a daemon needs from the world, as Protocols and nothing else.

Flow code calls these; ``node.adapters`` implements them on hivemind, files and processes, and
``simulator`` implements them in virtual time. One contract suite (tests/contract) runs on both.
The event loop itself is the clock for waits; ``WallClock`` is only for signed, absolute times.
"""

from node.ports.behaviour import Behaviour, Ports, Rows, Sign
from node.ports.compute import (
    LOCAL_STATES_KEPT,
    WHOLE,
    AdvanceReply,
    AdvanceRequest,
    Arrived,
    Compute,
    FloatVector,
    InquireRequest,
    ReplayReply,
    ReplayRequest,
    Shard,
    TrainReply,
    TrainRequest,
    Worker,
)
from node.ports.world import (
    RECORD_BYTES_MAX,
    Discovery,
    Handler,
    Record,
    Store,
    StreamHandler,
    Transport,
    WallClock,
)

__all__ = [
    "LOCAL_STATES_KEPT",
    "RECORD_BYTES_MAX",
    "WHOLE",
    "AdvanceReply",
    "AdvanceRequest",
    "Arrived",
    "Behaviour",
    "Compute",
    "Discovery",
    "FloatVector",
    "Handler",
    "InquireRequest",
    "Ports",
    "Record",
    "ReplayReply",
    "ReplayRequest",
    "Rows",
    "Shard",
    "Sign",
    "Store",
    "StreamHandler",
    "TrainReply",
    "TrainRequest",
    "Transport",
    "WallClock",
    "Worker",
]
