"""What must always hold, checked from outside the node (DESIGN, section 5).

``Invariants`` is a ``Watcher`` of the world's hub. It opens each message once and hands it to the
checks, one idea a file. A check knows honest nodes' heads, states and disks through ``World``; of
the node's code it uses only what encodes and hashes, never what decides.
"""

from simulator.invariants.base import Violation
from simulator.invariants.suite import Invariants

__all__ = ["Invariants", "Violation"]
