"""The machine's wall clock."""

import time


class SystemClock:
    """``WallClock`` on the operating system's clock."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()
