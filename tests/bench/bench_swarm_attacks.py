"""Eight real nodes of which two lie: quality, bans and the liars' weights, as JSON and a table.

    python tests/bench/bench_swarm_attacks.py --out out/swarm-attacks.jsonl
        [--attacks NAME[:SCALE],...] [--nodes 8] [--byzantine 2] [-- MORE ARGUMENTS OF artel up]

Each run is one ``artel up`` of the job, kept as a line of the file; run again to go on. Weights are
means over the rounds, as multiples of an equal share: 0 is not heard, 1 is heard like anybody.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

JOB = Path(__file__).parents[2] / "examples" / "inr-astronaut.toml"
ATTACKS = (
    "none,sign_flip:10,collude:10,min_max,alie_opt,garbage,mimic,gaussian:10,wrong_gram,equivocate,"
    "silent,stale"
)


def run(attack: str, nodes: int, liars: int, more: list[str]) -> dict[str, Any]:
    """One swarm, in a folder that goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "node", "up", "--job", str(JOB), "--dir", folder, "--json"]
        command += ["--nodes", str(nodes), *more]
        if attack != "none":
            command += ["--byzantine", str(liars), "--attack", attack]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"attack": attack, "nodes": nodes, "liars": liars, **json.loads(done.stdout)}


def table(runs: list[dict[str, Any]]) -> str:
    """One row a run."""
    lines = ["| attack | PSNR, dB | liars' weight | honest nodes' | banned | s a round |"]
    lines.append("|---" * 6 + "|")
    for found in runs:
        shares = {peer: weight * found["nodes"] for peer, weight in found["weights"].items()}
        liars = " ".join(f"{shares[peer]:.2f}" for peer in found["byzantine"])
        honest = sum(shares[peer] for peer in found["honest"]) / len(found["honest"])
        banned = len(found["bans"].keys() & set(found["byzantine"]))
        cells = [f"{found['metrics']['psnr_db']:.2f}", liars, f"{honest:.2f}", str(banned)]
        cells.append(f"{found['round_s_median']:.2f}")
        lines.append(f"| `{found['attack']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attacks", default=ATTACKS)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--byzantine", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("more", nargs="*", help="further arguments of artel up, after --")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    runs = [json.loads(line) for line in lines]
    for attack in asked.attacks.split(","):
        if any(found["attack"] == attack for found in runs):
            continue
        runs.append(run(attack, asked.nodes, asked.byzantine, asked.more))
        with asked.out.open("a") as out:
            out.write(json.dumps(runs[-1]) + "\n")
        print(table(runs[-1:]).splitlines()[-1], flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
