"""Every error that Artel raises, sorted by whose fault it is.

``ConfigError``: the operator's. ``PeerError``: a remote peer's, and it is scored.
``Unavailable``: nobody's, retry. A failed ``assert``: ours, and the process ends.
"""

from node.types import PeerId


class ArtelError(Exception):
    """Root of Artel's own errors. Catch a leaf or a family, not this."""


class ConfigError(ArtelError):
    """The operator gave a setting that cannot work; the text says what to do."""


class Unavailable(ArtelError):
    """A peer, a file or a process does not answer now. Retry later or ask another."""


class WorkerFailed(ArtelError):
    """The workload's own process raised or died: its job fails, the node goes on."""


class PeerError(ArtelError):
    """A peer broke the protocol. Scored against ``peer``; never ends the node.

    Attributes:
        peer: who sent it, or None where the bytes do not tell.
        reason: a short stable code (glossary of docs/protocol.md, "Refusals").
    """

    reason: str = "protocol"

    def __init__(self, text: str, peer: PeerId | None = None) -> None:
        super().__init__(text)
        self.peer = peer


class Malformed(PeerError):
    """The bytes are not a message of the declared kind."""

    reason = "malformed"


class TooLarge(PeerError):
    """A message, list or number is above its declared limit."""

    reason = "too_large"


class BadSignature(PeerError):
    """A signature does not verify, or the signer may not sign this."""

    reason = "bad_signature"


class Equivocation(PeerError):
    """A peer signed two different commitments for one round; both are held as evidence."""

    reason = "equivocation"


class FalseWork(PeerError):
    """Enough auditors found that a contribution does not follow from the steps it stands for."""

    reason = "false_work"


class FalseFinding(PeerError):
    """An auditor objected to work that enough others took again and found to be true."""

    reason = "false_finding"


class Refused(PeerError):
    """The remote peer answered that it will not serve the call."""

    reason = "refused"
