"""NAIT as a swarm in virtual time: whole daemons, real games, every node on a core of its own.

    .venv/bin/python tests/bench/bench_nait_swarm.py --games breakout,qbert --nodes 1,4
        [--steps 25000] [--seeds 0,1] [--attack NAME[:SCALE]] [--plain] [--out FILE]

A line tells, for each honest node, the score of its last ten episodes at each tenth of its steps,
whom it trusts, and how far behind memory was. ``--attack`` lets the last node share false memory;
``--plain`` retrieves without shares, trust and robust combination.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.attacks import make_attack
from simulator.loop import run
from simulator.scenario import Scenario
from simulator.world import World
from workloads.nait.learner import Learner

STEP_S = 1 / 900
"""Virtual seconds of an agent step, what one core takes for a game of six actions."""
STEPS_PER_ROUND = 1000
PLAIN = {"author_share": 1.0, "rule": "mean", "trust": False}
"""Retrieval as if all were one author."""


def job(game: str, protocol: str, rounds: int, seed: int, extra: dict[str, Any]) -> dict[str, Any]:
    """The tables of the manifest."""
    return {
        "job": {"name": "nait", "workload": "nait", "rounds": rounds, "seed": seed},
        "workload": {"environment": game, "protocol": protocol, **extra},
        "round": {"steps": STEPS_PER_ROUND, "train_s_max": 10.0, "commit_s_max": 15.0},
        "exchange": {"codec": "fp32", "rule": "median"},
    }


def learner(world: World, index: int) -> Learner:
    """The player of one node."""
    workload: Any = world.nodes[index].compute.workers[-1]._workload
    found: Learner = workload._learner
    return found


async def play(
    nodes: int, tables: dict[str, Any], seed: int, attack: str, steps: int
) -> dict[str, Any]:
    """One swarm, until every honest node has taken ``steps``."""
    world = World(Scenario(nodes=nodes, framed=False), seed=seed)
    for node in world.nodes:
        node.compute.cost.step_s = STEP_S
    honest = range(nodes)
    if attack:
        name, _, scale = attack.partition(":")
        world.attack({nodes - 1: make_attack(name, scale=float(scale or 1), seed=seed)})
        honest = range(nodes - 1)
    lags: list[float] = []
    async with world:
        for index in range(nodes):
            await world.start(index)
        tables["electorate"] = {"founders": sorted(node.peer for node in world.nodes)}
        toml = "\n".join(
            f"[{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in table.items())
            for name, table in tables.items()
        )
        await world.submit(toml, {})
        while not all(world.nodes[i].compute.workers for i in range(nodes)):
            await asyncio.sleep(0.5)
        start_s = world.now()
        while min(learner(world, i).steps for i in honest) < steps:
            await asyncio.sleep(1.0)
            daemon = world.nodes[0].daemon
            memory = daemon.runners[0].remembering if daemon and daemon.runners else None
            if memory is not None:
                lags.append(memory.status().lag)
        virtual_s = world.now() - start_s
        players = [learner(world, i) for i in honest]
        liar = world.nodes[-1].peer if attack else ""
        return {
            "virtual_s": round(virtual_s, 1),
            "curves": [curve(player, steps) for player in players],
            "episodes": [len(player.records.episodes) for player in players],
            "trust": [
                {
                    ("liar" if a.name == liar else a.name[-6:]): round(a.trust, 3)
                    for a in p.authors()
                }
                for p in players
            ],
            "lag_entries_p99": float(np.percentile(lags, 99)) if lags else 0.0,
        }


def curve(player: Learner, steps: int) -> list[float]:
    """Mean score of the last ten episodes at each tenth of the steps."""
    points = []
    for tenth in range(1, 11):
        ended = [e.score for e in player.records.episodes if e.end_step <= steps * tenth / 10]
        points.append(round(float(np.mean(ended[-10:])), 2) if ended else float("nan"))
    return points


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, a JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--games", default="breakout")
    parser.add_argument("--nodes", default="1,4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=25_000)
    parser.add_argument("--protocol", default="standard")
    parser.add_argument("--attack", default="")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    for game in given.games.split(","):
        for seed in map(int, given.seeds.split(",")):
            for nodes in map(int, given.nodes.split(",")):
                extra = PLAIN if given.plain else {}
                rounds = 10 * given.steps // STEPS_PER_ROUND
                tables = job(game, given.protocol, rounds, seed, extra)
                start_s = time.perf_counter()
                result = run(play(nodes, tables, seed, given.attack, given.steps))
                line = {
                    "game": game,
                    "protocol": given.protocol,
                    "seed": seed,
                    "nodes": nodes,
                    "steps": given.steps,
                    "attack": given.attack,
                    "plain": given.plain,
                    **result,
                    "wall_s": round(time.perf_counter() - start_s, 1),
                }
                print(json.dumps(line), flush=True)
                if given.out:
                    with given.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
