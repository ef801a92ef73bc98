"""The Artel node: a daemon with which strangers' machines train one model together."""

__version__ = "0.1.0"
