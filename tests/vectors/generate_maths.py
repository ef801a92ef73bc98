"""Golden vectors of the exchange's maths: ``python tests/vectors/generate_maths.py`` rewrites them.

The format is in README.md beside this file. Inputs are listed, not drawn, so that another
implementation needs nothing but the file.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.exchange.beacon import beacon_value, nonce_hash
from node.exchange.canonical import golden_digest
from node.exchange.codecs import CODECS
from node.exchange.gram import assemble_gram, integer_gram, quantise_row
from node.exchange.rules import RULES, rule
from node.exchange.sketch import sketch_row
from node.merkle import digest, leaf, proof, root
from node.state.outer import OuterState, outer_step
from node.state.snapshot import chunk_hashes, state_root
from node.types import Digest, JobId, PeerId

FILE = Path(__file__).with_name("maths.json")
Floats = npt.NDArray[np.float32]

INPUTS: dict[str, list[float]] = {
    "plain": [1.0, -2.5, 0.0, 0.3333333432674408, -1e-3, 100.0],
    "small": [1e-12, -3e-12, 2.5e-13, 0.0],
    "subnormal": [1e-42, -1e-42, -0.0, 1.5, 2e-38],
    "zero": [0.0, 0.0, 0.0],
    "large": [3e37, -1e30, 1.0],
}
ROWS = [
    [1.0, 2.0, -1.0, 0.5],
    [1.25, 1.75, -1.5, 0.25],
    [0.75, 2.25, -0.5, 0.75],
    [1.0, 2.5, -1.25, 0.0],
    [1.125, 1.5, -0.75, 0.625],
    [-10.0, -20.0, 10.0, -5.0],
    [1e30, 0.0, 0.0, -1e30],
]
LIARS = 2
SEED = bytes(range(32))
CHAINS = ("nnm | caf", "norm_cap | nnm | trimmed_mean", "arc | bucketing | geometric_median")


def build() -> dict[str, object]:
    """All vectors, as they stand in the file."""
    rows = np.array(ROWS, np.float32)
    integers = [quantise_row(row) for row in rows]
    screen = integer_gram(integers)
    exponents = [row.exponent for row in integers]
    gram = assemble_gram([(screen, exponents)])
    return {
        "codecs": [_codec(name, label) for name in sorted(CODECS) for label in sorted(INPUTS)],
        "gram": {
            "rows": [_hex(row) for row in rows],
            "values": [row.values.tolist() for row in integers],
            "exponents": exponents,
            "sq_norms": [row.sq_norm for row in integers],
            "integer_gram": screen.tolist(),
            "gram": [[float(cell).hex() for cell in line] for line in gram],
        },
        "rules": [_rule(name, rows, gram) for name in (*sorted(RULES), *CHAINS)],
        "merkle": _merkle(),
        "outer": [_outer(rows, nesterov) for nesterov in (False, True)],
        "sketch": _sketch(),
        "golden": golden_digest(),
    }


def _hex(x: Floats) -> str:
    return x.astype("<f4").tobytes().hex()


def _codec(name: str, label: str) -> dict[str, object]:
    x = np.array(INPUTS[label], np.float32)
    data = CODECS[name].encode(x)
    decoded = CODECS[name].decode(data, len(x))
    return {
        "codec": name, "label": label, "input": _hex(x), "encoded": data.hex(),
        "decoded": _hex(decoded),
    }  # fmt: skip


def _rule(name: str, rows: Floats, gram: npt.NDArray[np.float64]) -> dict[str, object]:
    each = rule(name)
    f = LIARS if each.m_min(LIARS) <= len(rows) else 1
    if each.kind == "coordinates":
        return {"rule": name, "f": f, "aggregate": _hex(each.combine(list(rows), f))}
    mixture = each.mixture(gram, f, SEED)
    return {
        "rule": name,
        "f": f,
        "mixture": [[float(w).hex() for w in line] for line in mixture],
        "aggregate": _hex(each.combine(list(rows), f, mixture)),
    }


def _sketch() -> dict[str, object]:
    values = (np.arange(40_000) * 7919 % 32_768 - 16_384).astype(np.int16)
    return {
        "coordinates": len(values), "beacon": SEED.hex(), "part": 3, "buckets": 64,
        "nonce_hash": nonce_hash(SEED).hex(),
        "value": beacon_value(Digest(SEED), {1: SEED, 5: bytes(32)}).hex(),
        "sketch": sketch_row(values, SEED, 3, 64).tolist(),
    }  # fmt: skip


def _merkle() -> dict[str, object]:
    job, peer = JobId(bytes(range(32))), PeerId("12D3KooWExample")
    leaves = [leaf("update", job, 7, peer, k, bytes([k]) * k) for k in range(5)]
    return {
        "job": job.hex(),
        "peer": peer,
        "round": 7,
        "kind": "update",
        "leaves": [each.hex() for each in leaves],
        "roots": [root(leaves[:n]).hex() for n in range(1, 6)],
        "proof_of_2": [each.hex() for each in proof(leaves, 2)],
        "digest": digest("example", b"data").hex(),
    }


def _outer(rows: Floats, nesterov: bool) -> dict[str, object]:
    shapes = (("w", (2, 1)), ("b", (2,)))
    state = outer_step(OuterState(rows[0], rows[1]), rows[2], 0.7, 0.9, nesterov)
    assert state.momentum is not None
    return {
        "params": _hex(rows[0]), "momentum": _hex(rows[1]), "update": _hex(rows[2]),
        "lr": 0.7, "coefficient": 0.9, "nesterov": nesterov,
        "params_after": _hex(state.params), "momentum_after": _hex(state.momentum),
        "shapes": [[name, list(shape)] for name, shape in shapes],
        "chunk_hashes": [each.hex() for each in chunk_hashes(state, shapes)],
        "state_root": state_root(state, shapes).hex(),
    }  # fmt: skip


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(), indent=1) + "\n")
