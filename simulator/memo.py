"""Pure results shared between the daemons of one world, by the content of what goes in.

In a world of n daemons in one process the same bytes are decoded, and the same signatures checked,
n times. Inside ``shared_results`` the functions named here are computed once for equal arguments,
and every daemon gets that result. Nothing but time changes, because each of them

* depends on its arguments alone: no clock, randomness, task or module state. A function that takes
  ``now``, or returns a dict, a list or a manifest (which holds dicts), is not here;
* is found by the whole content of its arguments (bytes, numbers, frozen values), never by identity;
* returns what cannot be changed: frozen values of bytes and tuples, and arrays made read-only, so
  that a write into a shared one raises instead of reaching another daemon;
* is refused in the same words: a ``PeerError`` is kept too, and each caller gets its own copy.

A result is forgotten when RESULTS_MAX newer ones came, or the context ends. A run with
``memo = false`` has the same trace digest (tests/simulation/test_memo.py).
"""

import copy
import importlib
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, update_wrapper
from typing import Any

import numpy as np
from blake3 import blake3

from node.errors import PeerError
from node.exchange.gram import IntegerRow
from node.exchange.reduction import Resolution
from node.jobs.geometry import Geometry
from node.jobs.work import chance_of
from node.state.outer import OuterState
from node.wire.messages import Commitment

RESULTS_MAX = 4096
"""Results that are kept of each function: several rounds of 64 electors."""
PACKAGES = ("node.", "simulator.")
"""Modules in which a shared function's name is bound anew."""

DECODERS = (
    "decode_round",
    "decode_ack",
    "decode_signed",
    "decode_commitment",
    "decode_have",
    "decode_list",
    "decode_screens",
    "decode_plan",
    "decode_results",
    "decode_seal",
    "decode_reveal",
    "decode_beacon",
    "decode_sketches",
    "decode_proposal",
    "decode_vote",
    "decode_fetched",
)
SHARED: Mapping[str, tuple[str, ...]] = {
    "node.wire.convert": DECODERS,
    "node.wire.convert_ledger": (
        "decode_decision",
        "decode_certificate",
        "decode_prepared",
        "decode_chain",
        "decode_state_reply",
    ),
    "node.identity": ("verify",),
    "simulator.host.signer": ("verify",),
    "node.membership.record": ("open_record",),
    "node.daemon": ("manifest_id",),
    "node.ledger.votes": ("check_certificate", "check_prepared"),
    "node.exchange.reduction": ("reducer_orders", "unpack_gram", "packed_gram_fault"),
    "node.exchange.canonical": ("golden_check",),
}
"""Module -> functions whose arguments can be compared as they are."""


def _of_apply(g: Geometry, state: OuterState, results: Any) -> Hashable:
    hasher = blake3(state.params.data.cast("B"))
    if state.momentum is not None:
        hasher.update(state.momentum.data.cast("B"))
    step = (g.job, g.d, g.lr, g.momentum, g.nesterov, type(g.result_codec))
    return (*step, hasher.digest(), tuple(results))


def _of_weights(
    g: Geometry, resolution: Resolution, rule: str, commitments: Mapping[int, Commitment]
) -> Hashable:
    exponents = tuple(
        tuple(p.exponent for p in commitments[e].parts) for e in resolution.contributors
    )
    return (g.job, g.f, resolution, rule, exponents, chance_of(resolution, commitments))


KEYED: Mapping[tuple[str, str], Callable[..., Hashable]] = {
    ("node.jobs.work", "apply_results"): _of_apply,
    ("node.jobs.work", "weights_of"): _of_weights,
    ("node.jobs.work", "check_row"): lambda g, *content: (g.job, *content),
}
"""Functions of arrays and mappings -> the content of their arguments."""


@contextmanager
def shared_results() -> Iterator[None]:
    """Share pure results among all daemons until the context ends.

    Contexts nest; each forgets its own results.
    """
    keys: dict[tuple[str, str], Callable[..., Hashable] | None] = {
        (module, name): None for module, names in SHARED.items() for name in names
    }
    pairs: list[tuple[Any, Any]] = []
    for (module, name), key in (keys | dict(KEYED)).items():
        function = getattr(importlib.import_module(module), name)
        pairs.append((function, _share(getattr(function, "unshared", function), key)))
    _rebind(pairs)
    try:
        yield
    finally:
        _rebind([(shared, function) for function, shared in pairs])


class _Call:
    """Arguments that are compared by a key."""

    __slots__ = ("args", "key")

    def __init__(self, key: Hashable, args: tuple[Any, ...]) -> None:
        self.key = key
        self.args = args

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self.key == other.key


def _share(function: Callable[..., Any], key: Callable[..., Hashable] | None) -> Callable[..., Any]:
    """``function``, computed once for equal arguments."""

    @lru_cache(maxsize=RESULTS_MAX)
    def outcome(*args: Any, **kwargs: Any) -> tuple[Any, PeerError | None]:
        if key is not None:
            args = args[0].args
        try:
            return _frozen(function(*args, **kwargs)), None
        except PeerError as error:
            return None, error.with_traceback(None)

    def plain(*args: Any, **kwargs: Any) -> Any:
        value, error = outcome(*args, **kwargs)
        if error is not None:
            raise copy.copy(error)
        return value

    def keyed(*args: Any) -> Any:
        assert key is not None
        return plain(_Call(key(*args), args))

    shared = update_wrapper(plain if key is None else keyed, function)
    shared.unshared = function  # type: ignore[attr-defined]
    return shared


def _frozen(value: Any) -> Any:
    """``value`` with every array in it made read-only."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif isinstance(value, OuterState):
        _frozen((value.params, value.momentum))
    elif isinstance(value, IntegerRow):
        _frozen(value.values)
    elif isinstance(value, tuple):
        for item in value:
            if isinstance(item, (np.ndarray, OuterState, IntegerRow)):
                _frozen(item)
    return value


def _rebind(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Let every name of a module that means the first of a pair mean the second."""
    new = {id(old): new for old, new in pairs}
    for path, module in list(sys.modules.items()):
        if path.startswith(PACKAGES):
            for name, value in list(vars(module).items()):
                if id(value) in new:
                    setattr(module, name, new[id(value)])
