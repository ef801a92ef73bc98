"""What a Byzantine node may do, by name: the entry-point group ``artel.attacks``.

Each factory takes the scale and the seed of ``artel node run --attack NAME[:SCALE]`` and gives a
``node.ports.Behaviour`` around an otherwise honest node.
"""

from simulator.attacks.messages import garbage, silent
from simulator.attacks.stale import stale
from simulator.attacks.values import gaussian, huge, nan, sign_flip, zero

__all__ = ["garbage", "gaussian", "huge", "nan", "sign_flip", "silent", "stale", "zero"]
