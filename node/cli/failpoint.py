"""Crashes on request, at a named place, for tests of what a crash must not lose."""

import os
import signal
from collections.abc import Callable


def make_failpoint(text: str | None) -> Callable[[str, int], None]:
    """What the daemon calls at every phase; ``PHASE@ROUND`` kills the process there."""
    if text is None:
        return lambda phase, round_: None
    wanted, _, first = text.partition("@")
    round_min = int(first)

    def kill(phase: str, round_: int) -> None:
        if phase == wanted and round_ >= round_min:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill
