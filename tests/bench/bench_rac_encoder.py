"""How large to show pictures to E: pictures a CPU second, and accuracy of nearest neighbours.

python tests/bench/bench_rac_encoder.py --data fashion-mnist
"""

import argparse
import time

import numpy as np
import torch

from workloads.rac import datasets
from workloads.rac.encoders import picture_encoder
from workloads.rac.features import BLOCK_PICTURES


def encoded(encoder, pictures: np.ndarray) -> tuple[np.ndarray, float]:
    """Features, and pictures a CPU second."""
    start_s = time.process_time()
    blocks = range(0, len(pictures), BLOCK_PICTURES)
    found = [encoder.encode(pictures[at : at + BLOCK_PICTURES]) for at in blocks]
    return np.concatenate(found), len(pictures) / (time.process_time() - start_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 48, 64, 96])
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = datasets.load(asked.data, ())
    rng = np.random.default_rng(0)
    train = data.train.take(rng.permutation(len(data.train.labels))[: asked.train])
    test = data.test.take(rng.permutation(len(data.test.labels))[: asked.test])
    print("| side | pictures a CPU second | 1 neighbour | 10 neighbours |\n|---|---|---|---|")
    for side in asked.sides:
        encoder = picture_encoder(asked.encoder, side, torch.device("cpu"))
        keys, pace = encoded(encoder, train.pictures)
        queries, _ = encoded(encoder, test.pictures)
        cosines = queries @ keys.T
        cells = []
        for k in (1, 10):
            near = np.argsort(-cosines, axis=1)[:, :k]
            weights = np.exp(20 * np.take_along_axis(cosines, near, axis=1))
            votes = np.zeros((len(queries), len(data.classes)))
            np.add.at(votes, (np.arange(len(queries))[:, None], train.labels[near]), weights)
            cells.append(f"{100 * (votes.argmax(axis=1) == test.labels).mean():.1f}")
        print(f"| {side} | {pace:.0f} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
