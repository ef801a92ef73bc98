"""The graph of faiss beside that of usearch (if it is installed) on unique keys of a game.

One query a call, one thread, both called below their convenience layers. Recall at 8 by distance.
Run: python tests/bench/bench_recall_index.py > docs/results/nait-index.json
"""

import json
import sys
from time import process_time

import numpy as np
from bench_nait_keys import play

from workloads.recall.index import GraphIndex

QUERIES, K = 600, 8


def unique_keys():
    levels = np.rint(play("ms_pacman", 20_000) / 4).clip(-127, 127).astype(np.int8)
    _, first = np.unique(levels, axis=0, return_index=True)
    return levels[np.sort(first)]


def timed(calls):
    start_s = process_time()
    results = [call() for call in calls]
    return results, (process_time() - start_s) / len(results) * 1e6


def run_faiss(known, queries, breadth_add, breadth):
    index = GraphIndex(known.shape[1], links=16, breadth_add=breadth_add, breadth=breadth)
    _, add_us = timed([lambda key=key: index.add(key) for key in known])
    squares, ids = np.empty(K, np.float32), np.empty(K, np.int64)

    def search(query):
        index.search(query, squares, ids)
        return ids.copy()

    found, search_us = timed([lambda q=q: search(q) for q in queries.astype(np.float32)])
    return np.array(found), add_us, search_us


def run_usearch(known, queries, breadth_add, breadth):
    from usearch.index import Index

    index = Index(
        ndim=known.shape[1],
        metric="l2sq",
        dtype="i8",
        connectivity=16,
        expansion_add=breadth_add,
        expansion_search=breadth,
    )
    inner, number = index._compiled, np.zeros(1, np.uint64)

    def add(at):
        number[0] = at
        inner.add_many(number, known[at : at + 1], copy=True, threads=1, progress=None)

    def search(at):
        query = queries[at : at + 1]
        found = inner.search_many(query, K, exact=False, threads=1, progress=None)
        return found[0][0].astype(np.int64)

    _, add_us = timed([lambda at=at: add(at) for at in range(len(known))])
    found, search_us = timed([lambda at=at: search(at) for at in range(len(queries))])
    return np.array(found), add_us, search_us


def main():
    keys = unique_keys()
    known, queries = keys[:-QUERIES], keys[-QUERIES:]
    a, b = queries.astype(np.float32), known.astype(np.float32)
    squares = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    limit = np.sort(squares, axis=1)[:, K - 1 : K]
    report = []
    for name, run in (("faiss HNSWFlat float32", run_faiss), ("usearch int8", run_usearch)):
        for breadth_add, breadth in ((40, 16), (40, 32), (100, 16), (100, 32), (100, 64)):
            found, add_us, search_us = run(known, queries, breadth_add, breadth)
            near = np.take_along_axis(squares, found, axis=1) <= limit + 0.5
            report.append({
                "index": name,
                "keys": len(known),
                "dimensions": known.shape[1],
                "ef_construction": breadth_add,
                "ef": breadth,
                "recall_at_8": round(float(near.mean()), 3),
                "add_us": round(add_us, 1),
                "search_us": round(search_us, 1),
            })  # fmt: skip
            print(report[-1], file=sys.stderr)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
