"""Signs findings, and delivers them: again and again, since the other's round may not be over."""

import asyncio
from collections.abc import Iterable

from node.errors import PeerError, Refused, Unavailable
from node.identity import peer_id_of
from node.jobs.courier import Counters
from node.jobs.deps import RunnerDeps
from node.ports import Transport
from node.types import JobId, PeerId
from node.wire.audit import KIND, Finding, encode_finding, encode_signed_finding
from node.wire.messages import Signed

FINDING_METHOD = "finding/1"
TELL_TRIES = 24
"""Times that a finding is sent to an elector that does not take it: over half a minute."""
TELL_S_MAX = 10.0


def sign_finding(deps: RunnerDeps, job: JobId, round_: int, finding: Finding) -> Signed:
    """This node's finding on something of a round."""
    body = deps.behaviour.signs(round_, KIND, encode_finding(finding))
    signature = deps.signer.sign(KIND, job, round_, body)
    return Signed(KIND, job, round_, deps.signer.public_key, body, signature)


def tell_electors(
    group: asyncio.TaskGroup,
    transport: Transport,
    counters: Counters,
    electors: Iterable[bytes],
    signed: Signed,
) -> None:
    """Send a finding to electors, by their public keys, but not to who signed it."""
    for key in electors:
        if key != signed.signer:
            group.create_task(tell_finding(transport, counters, peer_id_of(key), signed))


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
