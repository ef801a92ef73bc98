"""Kill -9 in every phase and role of a real swarm, and watch it go on.

``python tests/soak/kills.py [--cells PHASE:ROLE,...] [--each N] [--json]``. Five honest nodes run
one job. Each carries a failpoint, dies at it, and is started again on its folder with the next
one. Cells are (phase, role of the killed node in that round); a node may hit another cell than the
one aimed at, since reducers are drawn anew each round.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm_kit import Node, Swarm, certificates

from node.exchange.reduction import reducer_orders
from node.identity import peer_id_of
from node.jobs.verify_folder import verify_node_folder
from node.ledger.electorate import Electorate
from node.ledger.succession import next_electorate

LEADS = ("list", "plan", "propose")
REDUCES = ("screen", "reduce")
ALL = ("train", "commit", "have", "scatter", "prepare", "vote", "certified")
CELLS = (
    *((phase, "leader") for phase in (*LEADS, *ALL)),
    *((phase, "reducer") for phase in (*REDUCES, *ALL)),
    *((phase, "contributor") for phase in ALL),
)
FIRST_ROUND = 4
"""Kills begin when a few certified rounds have taught the deadlines."""
RESTART_S = 0.3
"""From a death to the new start."""
BEHIND = "The newest stored state is that of round"
"""A node that is stopped in the middle of a job may not have written its last state yet."""

Cell = tuple[str, str]


@dataclass
class Kill:
    """One death, and what became of its round and its node."""

    node: int
    phase: str
    unix_s: float
    round: int
    role: str
    alone: bool
    """The last one killed before it had contributed again."""
    seconds: float | None = None
    """Slowest surviving node's duration of the round."""
    view: int = 0
    skip: str = ""
    back_s: float | None = None
    """From the death to the certificate of a later round that uses the node's contribution."""
    back_round: int | None = None
    slowest_after_s: float = 0.0
    """Slowest round between the one hit and the one with the node in it again."""


class Harness:
    """Aims failpoints, restarts the dead, and judges."""

    def __init__(self, swarm: Swarm, cells: Sequence[Cell], each: int) -> None:
        self.swarm = swarm
        self.cells = cells
        self.each = each
        self.kills: list[Kill] = []
        self.unexpected: list[str] = []
        self._armed: dict[int, Cell] = {}
        self._due: list[tuple[float, Node]] = []
        self._last_aim = FIRST_ROUND
        self._gap = 6

    # Aiming ----------------------------------------------------------------------------------

    def missing(self) -> Counter[Cell]:
        """Kills that each cell still needs."""
        done = Counter((kill.phase, kill.role) for kill in self.kills if kill.alone)
        return Counter({c: self.each - done[c] for c in self.cells if done[c] < self.each})

    def aim(self, node: Node) -> str | None:
        """The failpoint of a node's next life: for the cell that lacks most."""
        needs = self.missing()
        for cell in self._armed.values():
            needs[cell] -= 1
        if not any(count > 0 for count in needs.values()):
            needs = self.missing()
        if not needs:
            return None
        cell = max(needs, key=lambda c: (needs[c], -self.cells.index(c)))
        n = len(self.swarm.nodes)
        round_ = max(self._last_aim, self.swarm.round + 2) + self._gap
        while (round_ % n == node.elector) != (cell[1] == "leader"):
            round_ += 1
        self._last_aim = round_
        self._armed[node.index] = cell
        return f"{cell[0]}@{round_}"

    # Life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all nodes; the first one alone, since the others join it."""
        for node in self.swarm.nodes:
            self.swarm.spawn(node, failpoint=self.aim(node))
            if node.index == 0:
                self.swarm.wait_until_up(node)

    def run(self, seconds: float) -> None:
        """Kill until every cell is full, or the time is up; then wait for those who are down."""
        deadline_s = time.monotonic() + seconds
        while self.missing() and time.monotonic() < deadline_s:
            self._step()
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s and not self._all_back():
            self._step()

    def _step(self) -> None:
        for node, end in self.swarm.ends():
            if end.code != -9:
                self.unexpected.append(f"node-{node.index:02d} {end.how}")
            self._on_kill(node)
            self._due.append((time.monotonic() + RESTART_S, node))
        for due in [due for due in self._due if due[0] <= time.monotonic()]:
            self._due.remove(due)
            self.swarm.spawn(due[1], failpoint=self.aim(due[1]))
        self.swarm.refresh()
        self._settle()
        time.sleep(0.03)

    def _on_kill(self, node: Node) -> None:
        phase = self._armed.pop(node.index, ("?", ""))[0]
        own = [round_ for round_, _, _ in certificates(node.data, 1)]
        round_ = max(own, default=0) + (phase != "certified")
        self.swarm.refresh()
        alone = all(kill.back_s is not None for kill in self.kills)
        self.kills.append(
            Kill(node.index, phase, time.time(), round_, self._role(node, round_), alone)
        )

    def _role(self, node: Node, round_: int) -> str:
        id_, before = self.swarm.chain[round_ - 1]
        was = Electorate(self.swarm.electors(round_ - 1))
        after = next_electorate(was, before.plan, before.refused, before.bans)
        missed = dict(zip(after.keys, after.missed or (0,) * after.n, strict=True))
        # Who has just come back leads last, like who was absent.
        electorate = Electorate(before.electors, tuple(missed.get(k, 1) for k in before.electors))
        elector = electorate.index(node.key)
        if elector is None:
            return "contributor"
        if electorate.leader(round_, 0) == elector:
            return "leader"
        # A SKIP has no results; the count of parts never changes.
        parts = max(len(d.result_roots) for _, d in self.swarm.chain.values())
        orders = reducer_orders(id_, electorate, parts)
        reducers = {e for order in orders for e in order[: electorate.replicas]}
        return "reducer" if elector in reducers else "contributor"

    def _settle(self) -> None:
        """Note which nodes contribute again, and keep kills further apart than that takes."""
        for kill in self.kills:
            if kill.back_s is not None:
                continue
            key = self.swarm.nodes[kill.node].key
            for round_ in range(kill.round + 1, self.swarm.round + 1):
                closed = self.swarm.certified(round_)
                electors = self.swarm.electors(round_)
                used = {electors[e][0] for e, _ in self.swarm.chain[round_][1].plan}
                if key in used and closed:
                    kill.back_s = min(event.unix_s for event in closed) - kill.unix_s
                    kill.back_round = round_
                    self._gap = max(5, round_ - kill.round + 3)
                    break

    def _all_back(self) -> bool:
        return all(kill.back_s is not None for kill in self.kills) and not self._due

    # Judgement ---------------------------------------------------------------------------------

    def judge(self) -> dict[str, Any]:
        """The run as one JSON object; the nodes have stopped."""
        swarm = self.swarm
        swarm.refresh()
        seconds: dict[int, float] = {}
        for event in swarm.events:
            if event.name == "round_certified":
                round_ = int(event.fields["round"])
                seconds[round_] = max(seconds.get(round_, 0.0), float(event.fields["seconds"]))
        hit = {r for k in self.kills for r in range(k.round, (k.back_round or k.round) + 1)}
        calm = [s for r, s in seconds.items() if r not in hit and r >= FIRST_ROUND]
        median_s = statistics.median(calm) if calm else 0.0
        for kill in self.kills:
            closed = [e for e in swarm.certified(kill.round) if e.node != kill.node]
            if closed:
                kill.seconds = max(float(event.fields["seconds"]) for event in closed)
                kill.view = max(int(event.fields["view"]) for event in closed)
                kill.skip = swarm.chain[kill.round][1].skip_reason
            after = range(kill.round + 1, (kill.back_round or swarm.round) + 1)
            kill.slowest_after_s = max((seconds.get(r, 0.0) for r in after), default=0.0)
        limit_s = 2 * median_s + 3
        counted = [kill for kill in self.kills if kill.alone]
        good = [k for k in counted if k.seconds is not None and k.seconds <= limit_s]
        reports = [verify_node_folder(node.data) for node in swarm.nodes]
        result: dict[str, Any] = {
            "rounds": swarm.round,
            "median_s": median_s,
            "limit_s": limit_s,
            "kills": [asdict(kill) for kill in self.kills],
            "missing": [f"{p}:{role} {count}" for (p, role), count in self.missing().items()],
            "in_time": len(good) / len(counted) if counted else 0.0,
            "not_back": [asdict(kill) for kill in self.kills if kill.back_s is None],
            "diverged": diverged_rounds(swarm),
            "folders": [r.reason for r in reports if not r.agreement and BEHIND not in r.reason],
            "accused": accusations(swarm, (kill.node for kill in self.kills)),
            "peer_errors": errors_of(swarm),
            "unexpected": self.unexpected,
        }
        result["ok"] = bool(counted) and result["in_time"] >= 0.95 and not any(
            result[key] for key in ("not_back", "diverged", "folders", "accused", "unexpected")
        )  # fmt: skip
        return result


def diverged_rounds(swarm: Swarm) -> list[int]:
    """Rounds for which two nodes hold different decisions or states."""
    held: dict[int, set[tuple[bytes, bytes]]] = {}
    for node in swarm.nodes:
        for round_, id_, decision in certificates(node.data, 1):
            held.setdefault(round_, set()).add((id_, decision.state_root))
    return sorted(round_ for round_, found in held.items() if len(found) > 1)


def accusations(swarm: Swarm, killed: Iterable[int]) -> list[str]:
    """Log lines and decisions that say of a killed node that it lied."""
    peers = {swarm.nodes[index].peer for index in killed}
    found = [
        event.line
        for event in swarm.events
        if any(word in event.line for word in ("equivocation", "convicted"))
        and any(peer in event.line for peer in peers)
    ]
    for round_, (_, decision) in sorted(swarm.chain.items()):
        if any(reason == "equivocation" for _, reason in decision.refused):
            found.append(f"round {round_}: {decision.refused}")
        found += [f"round {round_} bans {peer_id_of(key)}" for key in decision.bans]
    return found


def errors_of(swarm: Swarm) -> dict[str, int]:
    """Protocol errors and other noise in the logs: what -> how often."""
    count: Counter[str] = Counter()
    for event in swarm.events:
        if event.name == "peer_error":
            count[f"{event.fields['reason']}: {event.fields.get('text', '')}"] += 1
        elif event.name == "?":
            count[event.line.strip()[:120]] += 1
    return dict(count.most_common(20))


def print_table(result: dict[str, Any]) -> None:
    """Phase x role: what the hit rounds and the killed nodes did."""
    head = (
        "phase",
        "role",
        "hit",
        "cert",
        "skip",
        "median s",
        "worst s",
        "views",
        "back s",
        "after",
    )
    print("{:<10}{:<12}{:>4}{:>5}{:>5}{:>9}{:>8}{:>7}{:>16}{:>8}".format(*head))
    rows: dict[Cell, list[dict[str, Any]]] = {}
    for kill in result["kills"]:
        if kill["alone"]:
            rows.setdefault((kill["phase"], kill["role"]), []).append(kill)
    for (phase, role), kills in sorted(rows.items()):
        took = [kill["seconds"] for kill in kills if kill["seconds"] is not None]
        back = [kill["back_s"] for kill in kills if kill["back_s"] is not None]
        skips = sum(bool(kill["skip"]) for kill in kills)
        print(
            f"{phase:<10}{role:<12}{len(kills):>4}{len(took) - skips:>5}{skips:>5}"
            f"{statistics.median(took) if took else float('nan'):>9.2f}"
            f"{max(took, default=float('nan')):>8.2f}{max(kill['view'] for kill in kills):>7}"
            f"{statistics.median(back) if back else float('nan'):>9.1f}"
            f"/{max(back, default=float('nan')):<6.1f}"
            f"{max(kill['slowest_after_s'] for kill in kills):>8.2f}"
        )
    overlapping = sum(not kill["alone"] for kill in result["kills"])
    print(f"{result['rounds']} rounds, median {result['median_s']:.2f} s without a kill;")
    print(f"{100 * result['in_time']:.1f} % of the hit rounds within {result['limit_s']:.2f} s;")
    print(f"{overlapping} kills came while another node was down, and are not in the table")
    for key in ("missing", "not_back", "diverged", "folders", "accused", "unexpected"):
        print(f"{key}: {result[key] or 'none'}")
    for text, count in result["peer_errors"].items():
        print(f"log: {count} x {text}")


def main() -> int:
    """Run, print, and tell by the exit code whether all held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--job", type=Path, default=Path("examples/inr-astronaut.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--cells", default=",".join(":".join(cell) for cell in CELLS))
    parser.add_argument("--each", type=int, default=3, help="kills per cell")
    parser.add_argument("--seconds", type=float, default=1800.0, help="stop killing then")
    parser.add_argument("--dir", type=Path, help="keep the nodes' folders here; must be empty")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cells = []
    for text in options.cells.split(","):
        phase, _, role = text.partition(":")
        if (phase, role) not in CELLS:
            parser.error(f"no such cell: {text}")
        cells.append((phase, role))
    with tempfile.TemporaryDirectory(prefix="artel-kills-") as temporary:
        folder = (options.dir or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        overrides = ["job.rounds=1000000", *options.set]
        swarm = Swarm.create(folder, options.nodes, options.job, overrides)
        harness = Harness(swarm, cells, options.each)
        try:
            harness.start()
            harness.run(options.seconds)
        finally:
            swarm.stop()
        result = harness.judge()
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
