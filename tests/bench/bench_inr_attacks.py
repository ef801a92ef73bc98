"""A picture fitted by 13 simulated nodes of which 4 lie: dB of the honest ones, as a table.

    OMP_NUM_THREADS=1 python tests/bench/bench_inr_attacks.py [--rules caf,centered_clip]
        [--attacks NAME[:SCALE],...] [--rounds 20] [--out FILE.jsonl]

The workload, codec, votes and reducers are those of a real swarm; only time and network are
simulated. Each run is kept as a line of FILE.jsonl; run again to resume. Printed at the end: the
loss against the same rule without liars.
"""

import argparse
import json
import time
from pathlib import Path

from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario

NODES, SEED = 13, 1
PICTURE = {
    "image": "astronaut", "size": 48, "activation": "sine", "omega": 30.0, "hidden_layers": 2,
    "hidden_width": 48, "pixels_per_step": 256, "lr": 0.002, "lr_end_ratio": 0.1,
}  # fmt: skip
ATTACKS = (
    "none", "sign_flip", "sign_flip:10", "ipm", "alie", "alie_opt", "min_max", "min_sum", "mimic",
    "gaussian:10", "zero", "stale", "drift", "collude:10",
)  # fmt: skip


def scenario(rule: str, attack: str, rounds: int) -> Scenario:
    """Thirteen nodes, of which as many lie as votes bear."""
    name, _, scale = attack.partition(":")
    return Scenario(
        name="inr-attacks",
        nodes=NODES,
        rounds=rounds,
        job={
            "workload_name": "inr",
            "workload": PICTURE,
            "round": {"steps": 20},
            "exchange": {"rule": rule, "codec": "int8"},
        },
        attacks=() if name == "none" else (AttackSection(name=name, scale=float(scale or 1)),),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", default="caf,centered_clip")
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/inr-attacks.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(r["rule"], r["attack"], r["rounds"]): r for r in map(json.loads, lines)}
    rules, attacks = options.rules.split(","), options.attacks.split(",")
    for rule in rules:
        for attack in attacks:
            key = (rule, attack, options.rounds)
            if key in done:
                continue
            used = time.process_time()
            outcome = run_scenario(scenario(*key), SEED)
            done[key] = {
                "rule": rule,
                "attack": attack,
                "rounds": options.rounds,
                "psnr_db": outcome.metrics.get("psnr_db"),
                "violations": [str(v) for v in outcome.violations],
                "cpu_s": time.process_time() - used,
            }
            with options.out.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
            print(json.dumps(done[key]), flush=True)
    print(f"\n| attack | {' | '.join(rules)} |\n|---|{'---:|' * len(rules)}")
    for attack in attacks:
        cells = []
        for rule in rules:
            found = done[rule, attack, options.rounds]["psnr_db"]
            calm = done.get((rule, "none", options.rounds), {}).get("psnr_db", found)
            cells.append(f"{found:.2f} ({found - calm:+.2f})")
        print(f"| `{attack}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
