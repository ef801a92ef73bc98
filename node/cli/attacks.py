"""Finds the ``Behaviour`` of ``--attack`` among installed packages."""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from blake3 import blake3

from node.errors import ConfigError
from node.types import PeerId

if TYPE_CHECKING:
    from node.ports import Behaviour  # imports numpy, which `artel up` does without

ENTRY_POINT_GROUP = "artel.attacks"


def load_attack(text: str, peer: PeerId) -> "Behaviour":
    """The behaviour that ``text`` names.

    Args:
        text: ``NAME`` or ``NAME:SCALE``; the scale is 1 where none is given.
        peer: Decides the seed, so that attackers of one swarm differ and runs repeat.

    Raises:
        ConfigError: no such attack is installed, or it does not load.
    """
    name, _, scale = text.partition(":")
    check_attack(text)
    (point,) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    seed = int.from_bytes(blake3(peer.encode()).digest(length=8), "big") >> 1
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the attack {name} does not load: {error}") from error
    behaviour: Behaviour = factory(scale=float(scale or 1), seed=seed)
    return behaviour


def check_attack(text: str) -> None:
    """Raise ConfigError, listing what there is, if no such attack is installed."""
    name = text.partition(":")[0]
    known = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"no attack {name!r} is installed (there is: {listed})")
