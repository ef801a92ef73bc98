"""Which discovery records are worth keeping: signed by the peer, or named by the job, they claim.

Pure, but for the clock that is passed in. A record that fails is not stored for others and not
shown, so that nobody hides a peer or a job behind garbage.
"""

from collections.abc import Callable

from node.errors import PeerError
from node.identity import Verifier, verify
from node.membership.record import decode_record
from node.membership.shelves import front_key, shelf_key
from node.types import JobId


def record_validator(
    swarm: str,
    now: Callable[[], float],
    manifest_id: Callable[[bytes], JobId],
    verifier: Verifier = verify,
) -> Callable[[str, str, bytes], bool]:
    """A check of (key, subkey, value).

    Args:
        swarm: The only swarm whose keys are accepted.
        now: Unix seconds.
        manifest_id: Checks a job manifest; raises PeerError.
        verifier: Checks signatures of records.
    """
    front, jobs = front_key(swarm), f"artel/{swarm}/jobs"

    def is_valid(key: str, subkey: str, value: bytes) -> bool:
        try:
            if key.startswith(front):
                record = decode_record(value, swarm=swarm, now=now(), verifier=verifier)
                return record.peer == subkey and key in (front, shelf_key(swarm, record.peer))
            if key == jobs:
                return manifest_id(value).hex() == subkey
        except PeerError:
            return False
        return False

    return is_valid
