"""Memories of labelled vectors as they grow to 10^6 entries of 1,280 dimensions.

Data: EfficientNet-Lite0 features of Fashion-MNIST (--features, float16 rows of length 1), continued
by a model of them: 64 clusters by k-means, each a Gaussian with the mean, the 48 largest principal
components and the residual variance by coordinate of its members, cut off below 0 and scaled to
length 1. Queries are drawn alike. "real" in the results: real features only.

One kind of index a process, one thread; each result is written as soon as it is there. With
--checkpoint a build that was stopped goes on where it was.
Run: python tests/bench/bench_recall_vectors.py --features F.npy --kind graph --out results.json
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import faiss
import numpy as np
import psutil
import recall_checkpoint

from workloads.recall.vector_index import IndexSettings
from workloads.recall.vectors import VectorMemory

K, QUERIES, BATCH, CHUNK, SEED = 30, 512, 256, 2000, 1
CLUSTERS, COMPONENTS = 64, 48
TRIED = {
    "flat": [{}],
    "graph": [{"breadth": b} for b in (32, 64, 96, 192, 384)],
    "codes": [{"probes": p, "rerank": r} for p in (16, 32, 64) for r in (0, 4, 8)],
}


class Model:
    """A Gaussian mixture fitted to real features; chunks are drawn by number."""

    def __init__(self, features):
        kmeans = faiss.Kmeans(features.shape[1], CLUSTERS, niter=20, seed=SEED)
        kmeans.train(features)
        near = kmeans.index.search(features, 1)[1][:, 0]
        self.share = np.bincount(near, minlength=CLUSTERS) / len(near)
        self.mean, self.basis, self.rest = [], [], []
        for cluster in range(CLUSTERS):
            own = features[near == cluster]
            centred = own - own.mean(axis=0)
            rank = min(COMPONENTS, len(own) - 1)
            _, scale, basis = np.linalg.svd(centred, full_matrices=False)
            basis = basis[:rank] * (scale[:rank, None] / np.sqrt(len(own)))
            rest = np.maximum(centred.var(axis=0) - (basis**2).sum(axis=0), 0)
            self.mean.append(own.mean(axis=0))
            self.basis.append(basis)
            self.rest.append(np.sqrt(rest))

    def chunk(self, number, rows):
        rng = np.random.default_rng([SEED, number])
        clusters = rng.choice(CLUSTERS, rows, p=self.share)
        keys = rng.standard_normal((rows, len(self.mean[0])), dtype=np.float32)
        for cluster in range(CLUSTERS):
            at, basis = clusters == cluster, self.basis[cluster]
            z = rng.standard_normal((int(at.sum()), len(basis)), dtype=np.float32)
            keys[at] = self.mean[cluster] + z @ basis + keys[at] * self.rest[cluster]
        keys = np.maximum(keys, 0)
        return keys / np.linalg.norm(keys, axis=1, keepdims=True)


class Truth:
    """The exact k nearest in float32, kept up to date as entries come."""

    def __init__(self, queries):
        self.queries = queries
        self.best = np.zeros((len(queries), 0), np.float32)
        self.ids = np.zeros((len(queries), 0), np.int64)

    def add(self, keys, ids):
        self.best = np.concatenate([self.best, self.queries @ keys.T], axis=1)
        self.ids = np.concatenate([self.ids, np.broadcast_to(ids, (len(self.best), len(ids)))], 1)
        order = np.argsort(-self.best, axis=1)[:, :K]
        self.best = np.take_along_axis(self.best, order, axis=1)
        self.ids = np.take_along_axis(self.ids, order, axis=1)

    def recall(self, found):
        pairs = zip(self.ids.tolist(), found.tolist(), strict=True)
        return sum(len(set(a) & set(b)) for a, b in pairs) / self.ids.size


def measure(memory, queries, truth, singles):
    """Recall and latencies of one setting; wall time, as a user sees it, and CPU time."""
    memory.search(queries[:8], K)
    wall_ms, cpu_ms = [], []
    for row in range(singles):
        start, cpu_s = perf_counter(), process_time()
        memory.search(queries[row : row + 1], K)
        wall_ms.append((perf_counter() - start) * 1e3)
        cpu_ms.append((process_time() - cpu_s) * 1e3)
    start, cpu_s = perf_counter(), process_time()
    found = [memory.search(queries[s : s + BATCH], K).ids for s in range(0, len(queries), BATCH)]
    batched_ms = (perf_counter() - start) * 1e3 / len(queries)
    return {
        "recall_at_30": round(truth.recall(np.concatenate(found)), 4),
        "single_p50_ms": round(float(np.percentile(wall_ms, 50)), 3),
        "single_p99_ms": round(float(np.percentile(wall_ms, 99)), 3),
        "single_cpu_p50_ms": round(float(np.percentile(cpu_ms, 50)), 3),
        "single_cpu_p99_ms": round(float(np.percentile(cpu_ms, 99)), 3),
        "batched_ms_a_query": round(batched_ms, 3),
        "batched_cpu_ms_a_query": round((process_time() - cpu_s) * 1e3 / len(queries), 3),
    }


def grow(chunk, count, queries, sizes, settings, options, data):
    """Add chunks, in turn by so many authors, and yield what is measured at each of the sizes."""
    memory = VectorMemory(queries.shape[1], settings, author_entries_max=1 << 21)
    truth, kind = Truth(queries), settings.kind
    spent, folder = recall_checkpoint.Spent(), options.checkpoint
    if folder is not None:
        spent = recall_checkpoint.load(folder, memory, truth, chunk)
    for number in range(spent.chunks + 1, count + 1):
        keys = chunk(number)
        labels, start = np.zeros(len(keys), int), process_time()
        ids = memory.add(f"author {(number - 1) % options.authors}", keys, labels)
        taken_s = process_time() - start
        spent.cpu_s, spent.slowest_s = spent.cpu_s + taken_s, max(spent.slowest_s, taken_s)
        truth.add(keys, ids)
        spent.chunks = number
        size = len(memory)
        if size % 20_000 == 0:
            print(kind, size, f"{len(keys) / taken_s:.0f}/s", file=sys.stderr, flush=True)
        if size in sizes:
            rows = list(measured(memory, queries, truth, spent, settings, options, data))
            yield from rows
            spent.cpu_s, spent.start_size, spent.slowest_s = 0.0, size, 0.0
            spent.measured.append(size)
        if folder is not None and size > 20_000 and number % recall_checkpoint.EVERY == 0:
            recall_checkpoint.save(folder, memory, truth, spent)


def measured(memory, queries, truth, spent, settings, options, data):
    """A row for each way to search the memory as it is."""
    size, kind = len(memory), settings.kind
    built = {
        "flat": {},
        "graph": {"links": settings.links, "breadth_add": settings.breadth_add},
        "codes": {"code_bytes": settings.code_bytes},
    }
    common = {
        "kind": kind,
        "data": data,
        "entries": size,
        "authors": options.authors,
        "dimensions": queries.shape[1],
        "build": built[kind],
        "bytes": memory.bytes,
        "bytes_an_entry": round(memory.bytes / size, 1),
        "resident_bytes": psutil.Process().memory_info().rss,
        "added_a_cpu_second": round((size - spent.start_size) / spent.cpu_s, 1),
        "slowest_chunk_cpu_s": round(spent.slowest_s, 2),
    }
    indexes = [shelf.index for shelf in memory._shelves[1:]]
    for tried in TRIED[kind]:
        for index in indexes:
            index._settings = replace(settings, **tried)
        singles = 40 if kind == "flat" and size > 200_000 else 256
        row = {**common, "search": tried, **measure(memory, queries, truth, singles)}
        yield {**row, "load": round(os.getloadavg()[0], 1)}
    for index in indexes:
        index._settings = settings


def table(results):
    """The results in Markdown."""
    lines = [
        "| index | entries | authors | search | recall@30 "
        "| one query p50 / p99, ms | in batches, ms | bytes an entry | added a second "
        "| longest chunk, s |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in sorted(results, key=lambda r: (r["data"], r["entries"], r["authors"], r["kind"])):
        how = ", ".join(f"{name} {value}" for name, value in r["search"].items())
        kind = r["kind"] + (" (real)" if r["data"] == "real" else "")
        lines.append(
            f"| {kind} | {r['entries']:,} | {r['authors']} | {how} | {r['recall_at_30']:.3f} "
            f"| {r['single_cpu_p50_ms']:.1f} / {r['single_cpu_p99_ms']:.1f} "
            f"| {r['batched_cpu_ms_a_query']:.2f} | {r['bytes_an_entry']:,.0f} "
            f"| {r['added_a_cpu_second']:,.0f} | {r['slowest_chunk_cpu_s']} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only show what is in --out")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--kind", choices=sorted(TRIED), default="graph")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--storage", choices=["fp16", "fp32"], default="fp16")
    parser.add_argument("--links", type=int, default=16)
    parser.add_argument("--breadth-add", type=int, default=80)
    parser.add_argument("--code-bytes", type=int, default=160)
    parser.add_argument("--authors", type=int, default=1, help="who add chunks in turn")
    parser.add_argument("--checkpoint", type=Path, help="folder; with one author only")
    parser.add_argument("--real", action="store_true", help="real features only, up to 10^4")
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else []
    if options.table:
        print(table(results))
        return
    faiss.omp_set_num_threads(1)
    features = np.load(options.features).astype(np.float32)
    settings = IndexSettings(
        options.kind,
        options.storage,
        options.links,
        options.breadth_add,
        code_bytes=options.code_bytes,
    )
    if options.real:
        size = min(10_000, (len(features) - QUERIES) // CHUNK * CHUNK)
        count, sizes, queries, data = size // CHUNK, {size}, features[-QUERIES:], "real"

        def chunk(number):
            return features[(number - 1) * CHUNK : number * CHUNK]

    else:
        model = Model(features)
        count, sizes, data = max(options.sizes) // CHUNK, set(options.sizes), "model"
        queries = model.chunk(0, QUERIES)

        def chunk(number):
            return model.chunk(number, CHUNK)

    for result in grow(chunk, count, queries, sizes, settings, options, data):
        results.append(result)
        options.out.write_text(json.dumps(results, indent=1))
        print(result, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
