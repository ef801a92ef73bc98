"""Delivers a signed finding to an elector: again and again, since its round may not be over yet."""

import asyncio

from node.errors import PeerError, Refused, Unavailable
from node.jobs.courier import Counters
from node.ports import Transport
from node.types import PeerId
from node.wire.audit import encode_signed_finding
from node.wire.messages import Signed

FINDING_METHOD = "finding/1"
TELL_TRIES = 24
"""Times that a finding is sent to an elector that does not take it: over half a minute."""
TELL_S_MAX = 10.0


async def tell_finding(
    transport: Transport, counters: Counters, peer: PeerId, signed: Signed
) -> None:
    """Until it is taken, refused for good, or sent often enough."""
    data = encode_signed_finding(signed)
    for attempt in range(TELL_TRIES):
        if attempt:
            await asyncio.sleep(min(0.1 * 2**attempt, 2.0))
        counters.calls += 1
        counters.bytes_up += len(data)
        try:
            await transport.call(
                peer, FINDING_METHOD, data, timeout_s=TELL_S_MAX, reply_bytes_max=64
            )
            return
        except (Refused, Unavailable):  # its round is not over, or it is away
            continue
        except PeerError:
            return
