"""One simulated disk: what was not fsynced is volatile, and a crash shows it.

Two kinds of write, as a database and a folder of files make them: bytes appended to a file, and a
file that is replaced whole (written aside, fsynced, renamed). After Pillai et al. 2014, "All File
Systems Are Not Created Equal" (OSDI), and ALICE's abstract states: appends may survive in part or
as a length without its data; renames and removals may be undone one by one until their folder is
fsynced.
"""

import errno
import os

import numpy as np

DISK_BYTES = 1 << 40
"""Size of a disk that never fills."""


class SimDisk:
    """Named files. Reads never fail; a write that does not fit changes nothing.

    Args:
        capacity_bytes: size of the disk; what is written aside counts until it has replaced.
    """

    def __init__(self, capacity_bytes: int = DISK_BYTES) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        """Sum of the sizes of all files, as they are read now."""
        self.is_full = False
        """Somebody else uses all that is free: nothing can be written."""
        self._files: dict[str, bytes | bytearray] = {}
        self._synced: dict[str, int] = {}
        """Durable length of each file that was appended to."""
        self._before: dict[str, bytes | None] = {}
        """What a crash may bring back, for each name that changed since the folder's fsync."""

    def read(self, name: str) -> bytes | None:
        """The file as written so far, durable or not; None: there is none."""
        data = self._files.get(name)
        return None if data is None else bytes(data)

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._files)

    def append(self, name: str, data: bytes) -> int:
        """Add bytes to the end of a file, which is made if there is none; its new length.

        Raises:
            OSError: ENOSPC, the disk is full.
        """
        self._take(len(data))
        file = self._files.get(name)
        if file is None:
            file = b""
            self._before.setdefault(name, None)
        if not isinstance(file, bytearray):
            self._synced[name] = len(file)  # it was written whole and fsynced before its rename
            file = self._files[name] = bytearray(file)
        file += data
        return len(file)

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in the place of another: after a crash it is the old or the new one.

        Raises:
            OSError: ENOSPC, the disk is full.
        """
        self._take(len(data))
        self._note(name)
        self._files[name] = data

    def truncate(self, name: str, length: int) -> None:
        """Cut a file's end off, durably; needs no space."""
        file = self._files[name][:length]
        self.used_bytes -= len(self._files[name]) - len(file)
        self._files[name] = file
        self._synced.pop(name, None)
        self._before.pop(name, None)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; it may come back until the folder's fsync."""
        if name in self._files:
            self._note(name)
            del self._files[name]

    def fsync(self, name: str, length: int) -> None:
        """Make the first ``length`` bytes of a file durable, and that it bears this name."""
        self._before.pop(name, None)
        if length > self._synced.get(name, length):
            self._synced[name] = length

    def fsync_folder(self) -> None:
        """Make every replacement, removal and new name so far durable."""
        self._before.clear()

    def crash(self, rng: np.random.Generator) -> None:
        """Lose what was not fsynced, from a drawn point on.

        Args:
            rng: draws what survives.
        """
        for name in sorted(self._before):
            if rng.random() < 0.5:
                self._restore(name, self._before[name])
        self._before.clear()
        for name in sorted(self._synced):
            file = self._files[name]
            durable = self._synced[name]
            if len(file) > durable:
                self._cut(name, bytes(file), durable, rng)
            self._synced[name] = len(self._files[name])

    def _cut(self, name: str, file: bytes, durable: int, rng: np.random.Generator) -> None:
        """Nothing, a part, a part with its length only, or all of the tail is kept."""
        fate = int(rng.integers(4))
        at = int(rng.integers(durable, len(file))) if fate in (1, 2) else durable
        kept = file if fate == 3 else file[:at]
        if fate == 2:  # the length reached the disk, the data did not
            kept += bytes(int(rng.integers(1, len(file) - at + 1)))
        self.used_bytes += len(kept) - len(file)
        self._files[name] = bytearray(kept)

    def _restore(self, name: str, before: bytes | None) -> None:
        self.used_bytes += len(before or b"") - len(self._files.pop(name, b""))
        self._synced.pop(name, None)
        if before is not None:
            self._files[name] = before

    def _note(self, name: str) -> None:
        """Keep what a crash may bring back; the durable part of it, where it was appended to."""
        file = self._files.get(name)
        durable = self._synced.pop(name, None)
        self.used_bytes -= len(file or b"")
        kept = None if file is None else bytes(file) if durable is None else bytes(file[:durable])
        self._before.setdefault(name, kept)

    def _take(self, length: int) -> None:
        if self.is_full or self.used_bytes + length > self.capacity_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.used_bytes += length
