"""The folder of a local swarm: ours, not in use, and empty of the last run."""

import fcntl
import os
import shutil
from pathlib import Path

from node.errors import ConfigError

MARKER = ".artel-swarm"
"""Made in a folder before anything else; only what lies beside it is ever deleted."""
OUTPUTS = ("job.toml", "result.json", "zygote.log", "pictures")


class SwarmFolder:
    """A folder held by this process."""

    def __init__(self, path: Path) -> None:
        """Take the folder, and delete an old run in it.

        Raises:
            ConfigError: a live swarm uses it, it holds something else, or it cannot be written.
        """
        self.path = path
        marker = path / MARKER
        try:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not marker.exists() and any(path.iterdir()):
                raise ConfigError(
                    f"{path} holds something that is not a run of `artel up`: choose another --dir"
                )
            self._fd = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use the folder {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(
                f"a swarm runs in {path}: stop it, or choose another --dir"
            ) from error
        self._clear()

    def _clear(self) -> None:
        for old in [*sorted(self.path.glob("node-[0-9][0-9]")), *map(self.path.joinpath, OUTPUTS)]:
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the folder go; what is in it stays."""
        os.close(self._fd)
