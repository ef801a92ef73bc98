"""A round of Artel beside an all-reduce of hivemind: 8 peers on one machine, over loopback.

``python tests/bench/bench_round.py [--sizes 1e5,1e6,1e7] [--rounds 20] [--json]``. One round of
either side averages one float32 vector a peer, sent as float16. hivemind's is a plain mean from the
call of all ``step()`` to the last result, at the fastest setting that always unites all peers.
Artel's is from the last node's update to the last node's certificate: signed, screened, voted on
and on disk, under a plain mean with one reducer a part and with f + 1, and under the default rule
(``--json`` also gives certificate to certificate, with what moves parameters to and from training).
Half of hivemind's rounds are run before Artel's and half after, so that a machine whose speed
drifts treats both alike.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import psutil
from bench_round_artel import CALLS_MAX, Setting, measure
from bench_round_common import PEERS, Measurement, Usage, end_family
from bench_round_hivemind import LADDER

HERE = Path(__file__).parent
HIVEMIND = "hivemind mean"
SETTINGS = [Setting("mean", 1), Setting("mean", 0), Setting("centered_clip", 0)]


def measure_hivemind(params: int, rounds: int) -> Measurement:
    """hivemind's side at the fastest setting with which every round unites all peers.

    Raises:
        RuntimeError: there is none.
    """
    for matchmaking_s, request_s in LADDER:
        found = _run_hivemind(params, rounds, matchmaking_s, request_s)
        if found is not None:
            return found
    raise RuntimeError(f"hivemind did not unite {PEERS} peers in {rounds} rounds at any setting")


def _run_hivemind(
    params: int, rounds: int, matchmaking_s: float, request_s: float
) -> Measurement | None:
    """One setting, in a process of its own; None if a round missed a peer or found no mean."""
    command = [sys.executable, str(HERE / "bench_round_hivemind.py")]
    command += ["--params", str(params), "--rounds", str(rounds)]
    command += ["--min-matchmaking-s", str(matchmaking_s), "--request-s", str(request_s)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = os.environ | threads | {"HIVEMIND_LOGLEVEL": "ERROR"}
    name = f"{HIVEMIND}, {params}, min_matchmaking_time {matchmaking_s}"
    found = Measurement(HIVEMIND, params, extra={"min_matchmaking_s": matchmaking_s})
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if told.get("group", PEERS) < PEERS or "wrong" in told:
                progress(f"  not all peers took part: {line.strip()}")
                return None
            if "round" in told:
                found.seconds.append(told["seconds"])
                progress(f"  round {told['round']}: {told['seconds']:.2f} s")
            elif "ready" in told:
                progress(f"{name}: peers started")
            else:
                found.charge(Usage(told["cpu_s"], told["moved_bytes"]), rounds)
                return found
        progress(f"{name}: ended early")
        return None
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(process.pid)
            end_family([root, *root.children(recursive=True)])
        process.wait()


def measure_size(params: int, rounds: int, with_hivemind: bool, found: list[Measurement]) -> None:
    """Add all sides at one size to ``found``; hivemind is measured first and last."""

    def keep(new: Measurement) -> Measurement:
        progress(f"{new.side}, {params}: median {new.median_s:.3f} s")
        return new

    if with_hivemind:
        theirs = keep(measure_hivemind(params, (rounds + 1) // 2))
        found.append(theirs)
    for setting in SETTINGS:
        found.append(keep(measure(setting, params, rounds, progress)))
    if with_hivemind and rounds > 1:
        theirs.join(keep(measure_hivemind(params, rounds // 2)))


def print_table(found: Sequence[Measurement]) -> None:
    """One line a side and size."""
    print(
        f"{'parameters':>10}  {'side':<26}{'median s':>9}{'min':>7}{'max':>7}{'ratio':>7}"
        f"{'CPU s':>8}{'p2pd':>7}{'MB/node':>9}{'calls':>7}"
    )
    base: dict[int, float] = {m.params: m.median_s for m in found if m.side == HIVEMIND}
    for m in found:
        ratio = f"{m.median_s / base[m.params]:.2f}" if m.params in base else "-"
        calls = m.extra.get("calls_per_round")
        print(
            f"{m.params:>10}  {m.side:<26}{m.median_s:>9.3f}{min(m.seconds):>7.2f}"
            f"{max(m.seconds):>7.2f}{ratio:>7}{sum(m.cpu_s.values()):>8.2f}"
            f"{m.cpu_s.get('p2pd', 0.0):>7.2f}{m.node_bytes / 1e6:>9.2f}"
            f"{'-' if calls is None else format(calls, '.0f'):>7}"
        )
    print(
        f"ratio: Artel / hivemind, medians. CPU: all {PEERS} peers, one round. MB: sent, one round"
    )


def over_budget(found: Sequence[Measurement]) -> list[str]:
    """Which sides made more calls than a round may."""
    return [
        f"{m.side} at {m.params}: {m.extra['calls_per_round']:.1f} calls a round, above {CALLS_MAX}"
        for m in found
        if m.extra.get("calls_per_round", 0.0) > CALLS_MAX
    ]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="parameters, with commas between")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument("--skip-hivemind", action="store_true")
    options = parser.parse_args()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    found: list[Measurement] = []
    try:
        for size in options.sizes.split(","):
            measure_size(int(float(size)), options.rounds, not options.skip_hivemind, found)
    except KeyboardInterrupt:
        progress("interrupted; what was measured so far:")
        print_table(found)
        return 130
    excess = over_budget(found)
    if options.json:
        sides = [asdict(m) | {"median_s": m.median_s} for m in found]
        print(json.dumps({"peers": PEERS, "sides": sides, "over_budget": excess}))
    else:
        print_table(found)
    for text in excess:
        progress(text)
    return 1 if excess else 0


if __name__ == "__main__":
    sys.exit(main())
