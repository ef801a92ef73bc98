"""A token bucket: what may be taken now, if the long run is limited. ``now`` is an argument."""

WAIT_S_MIN = 0.001
"""A shorter wait could be lost in the rounding of a clock, and never end."""


class Bucket:
    """Holds at most ``burst`` tokens and gains ``rate`` a second.

    It may be overdrawn, so that a thing larger than what is left can pass once; then nothing passes
    until the debt is paid.

    Args:
        rate: tokens a second, above 0.
        burst: most tokens at once, above 0; it starts full.
        now: seconds of any steady clock.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        assert rate > 0, rate
        assert burst > 0, burst
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def level(self, now: float) -> float:
        """Tokens now; below 0: a debt."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def take(self, tokens: float, now: float) -> None:
        """Use tokens, whether they are there or not."""
        self._level = self.level(now) - tokens

    def ready_in_s(self, tokens: float, now: float) -> float:
        """Seconds until ``min(tokens, burst)`` are there; 0: now, else at least WAIT_S_MIN."""
        lacking = min(tokens, self.burst) - self.level(now)
        return max(lacking / self.rate, WAIT_S_MIN) if lacking > 0 else 0.0
