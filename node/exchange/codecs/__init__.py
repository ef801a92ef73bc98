"""Codecs by name: how an update becomes bytes (docs/protocol.md, "Codecs")."""

from collections.abc import Mapping
from types import MappingProxyType

from node.errors import ConfigError
from node.exchange.codecs.base import Codec
from node.exchange.codecs.fp16 import Fp16
from node.exchange.codecs.fp32 import Fp32
from node.exchange.codecs.int8 import Int8

__all__ = ["CODECS", "Codec", "codec"]

_ALL: tuple[Codec, ...] = (Fp32(), Fp16(), Int8())
CODECS: Mapping[str, Codec] = MappingProxyType({each.name: each for each in _ALL})


def codec(name: str) -> Codec:
    """The codec called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in CODECS:
        raise ConfigError(f"no codec is called {name!r}; choose one of {', '.join(CODECS)}")
    return CODECS[name]
