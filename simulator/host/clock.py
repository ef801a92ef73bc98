"""A host's wall clock, which may be wrong: skew is a constant error, drift a growing one.

It may also be set while the host runs: a jump. Waits are not concerned: those of a loop count true
seconds, as a monotonic clock does.
"""

from collections.abc import Callable


class HostClock:
    """The WallClock port of one host.

    Args:
        true_s: absolute time as it is, in seconds.
        skew_s: how far this clock is ahead when the world begins.
        drift: seconds gained per second since then.
    """

    def __init__(
        self, true_s: Callable[[], float], skew_s: float = 0.0, drift: float = 0.0
    ) -> None:
        self._true_s = true_s
        self._began_s: float | None = None
        self.skew_s = skew_s
        self.drift = drift

    def unix_s(self) -> float:
        """What the clock shows."""
        now = self._true_s()
        if self._began_s is None:
            self._began_s = now
        return now + self.skew_s + self.drift * (now - self._began_s)

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock: forwards, or backwards below zero."""
        self.skew_s += seconds
