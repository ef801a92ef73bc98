"""Speed of the exchange's maths on one core, beside hivemind's codecs.

``OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/bench/bench_maths.py [--quick]``. Each
number is the best of several runs in one process. MB/s counts the uncompressed float32 bytes.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from node.exchange.canonical import golden_digest
from node.exchange.codecs import CODECS
from node.exchange.gram import assemble_gram, integer_gram, quantise_row
from node.exchange.rules import RULES, combine_weighted
from node.state.outer import OuterState, outer_step
from node.state.snapshot import state_root

Floats = npt.NDArray[np.float32]
Work = Callable[[], Any]


def best_s(work: Work, seconds: float = 0.4) -> float:
    """Least duration over about ``seconds`` of runs, at least three."""
    work()
    best, spent, runs = float("inf"), 0.0, 0
    while runs < 3 or spent < seconds:
        start = time.perf_counter()
        work()
        took = time.perf_counter() - start
        best, spent, runs = min(best, took), spent + took, runs + 1
    return best


def line(name: str, d: int, seconds: float, extra: str = "") -> None:
    ns, mb_s = seconds / d * 1e9, 4 * d / seconds / 1e6
    print(f"{name:<34}{d:>10}{seconds * 1e3:>10.2f} ms{ns:>8.2f} ns{mb_s:>9.0f} MB/s  {extra}")


def bench_codecs(sizes: list[int]) -> None:
    import torch
    from hivemind import compression
    from hivemind.compression import CompressionInfo

    torch.set_num_threads(1)
    # hivemind's int8 calls a deprecated torch function.
    warnings.simplefilter("ignore", UserWarning)
    peers = {
        "fp32": ("NoCompression", compression.NoCompression()),
        "fp16": ("Float16", compression.Float16Compression()),
        "int8": ("Uniform8Bit", compression.Uniform8BitQuantization()),
    }
    for d in sizes:
        x = (np.random.default_rng(0).standard_normal(d) * 0.01).astype(np.float32)
        tensor = torch.from_numpy(x)
        info = CompressionInfo.from_tensor(tensor)
        for name, codec in CODECS.items():
            label, theirs = peers[name]
            data, message = codec.encode(x), theirs.compress(tensor, info)
            error = np.linalg.norm(codec.decode(data, d) - x) / np.linalg.norm(x)
            print(f"{name}: relative error {error:.1e}, {len(data) / d:.3f} bytes a parameter")
            print(f"hivemind {label}: {len(message.buffer) / d:.3f} bytes a parameter")
            encode, decode = partial(codec.encode, x), partial(codec.decode, data, d)
            beside(f"{name} encode", label, d, encode, partial(theirs.compress, tensor, info))
            beside(f"{name} decode", label, d, decode, partial(theirs.extract, message))


def beside(name: str, label: str, d: int, ours: Work, theirs: Work) -> None:
    """Two lines: our time with the ratio, and hivemind's."""
    seconds = best_s(ours)
    try:
        other = best_s(theirs)
    except TypeError as error:
        line(name, d, seconds, f"hivemind {label} fails here: {error}")
        return
    line(name, d, seconds, f"{other / seconds:.2f} x as fast")
    line(f"  hivemind {label}", d, other)


def bench_exchange(n: int, d: int) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal(d).astype(np.float32) for _ in range(n)]
    stacked, f = np.stack(rows), (n - 1) // 3
    integers = [quantise_row(row) for row in rows]
    exponents = [row.exponent for row in integers]
    print(f"-- {n} rows of {d}; ns are per row and parameter")
    quantise = best_s(lambda: [quantise_row(row) for row in rows])
    product = best_s(lambda: integer_gram(integers))
    line("quantise", n * d, quantise)
    line("integer Gram", n * d, product)
    print(f"  quantise + Gram: {(quantise + product) * 1e3:.1f} ms (goal for 16 rows of 10^6: 50)")
    as_float = stacked.astype(np.float64)
    line("  float64 matmul, not canonical", n * d, best_s(lambda: as_float @ as_float.T))
    gram = assemble_gram([(integer_gram(integers), exponents)])
    for rule in RULES.values():
        if rule.kind == "weights":
            seconds = best_s(partial(rule.weights, gram, f), 0.1)
            print(f"{rule.name:<34}{seconds * 1e3:>20.3f} ms for the weights")
        else:
            line(rule.name, n * d, best_s(partial(rule.combine, stacked, f)))
    weights = np.full(n, 1 / n)
    line("combine_weighted", n * d, best_s(lambda: combine_weighted(rows, weights)))
    wide = weights.astype(np.float32)
    line("  float32 matvec, not canonical", n * d, best_s(lambda: wide @ stacked))


def bench_state(d: int) -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal(d).astype(np.float32) for _ in range(3)]
    plain = partial(outer_step, OuterState(x[0], None), x[2], 1.0, 0.0, False)
    line("outer step, no momentum", d, best_s(plain))
    state = OuterState(x[0], x[1])
    line("outer step, Nesterov", d, best_s(lambda: outer_step(state, x[2], 0.7, 0.9, True)))
    seconds = best_s(lambda: state_root(state, (("w", (d,)),)))
    line("state root, with momentum", d, seconds, f"{8 * d / seconds / 1e9:.2f} GB/s hashed")


def bench_assembly() -> None:
    rng = np.random.default_rng(0)
    for n, count in ((16, 16), (64, 64)):
        parts = [(rng.integers(-(2**50), 2**50, (n, n)), [-20 + k % 9 for k in range(n)])] * count
        seconds = best_s(partial(assemble_gram, parts))
        print(f"assemble_gram n={n}, {count} parts: {seconds * 1e3:.1f} ms")
    print(f"golden check: {best_s(golden_digest) * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller vectors, a few seconds")
    quick = parser.parse_args().quick
    bench_codecs([100_000] if quick else [100_000, 1_000_000, 10_000_000])
    for n, d in ((16, 100_000),) if quick else ((16, 1_000_000), (64, 250_000)):
        bench_exchange(n, d)
    for d in (100_000,) if quick else (1_000_000, 10_000_000):
        bench_state(d)
    bench_assembly()


if __name__ == "__main__":
    main()
