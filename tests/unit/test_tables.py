"""What people see of a job and of peers: who is on probation, and how far."""

from dataclasses import replace
from io import StringIO

from rich.console import Console, RenderableType

from node.cli.shared import short_id
from node.cli.tables import job_details, peer_table
from node.identity import Identity
from node.observe.status import JobStatus, PeerStatus

PEER = Identity(b"\1" * 32).peer_id
JOB = JobStatus(
    job="ab" * 32, name="cat", workload="inr", state="running", reason="", round=7, rounds=9,
    phase="train", view=0, leader="", electors=4, faulty_max=1, loss=None, metrics={},
    metrics_round=0, used=4, refused={}, refusals={}, skips=0, bytes_up=0, bytes_down=0, calls=0,
    round_seconds=(), params=3, state_root="", artifacts=(),
)  # fmt: skip
KNOWN = PeerStatus(PEER, (), True, 0.0, 9.0, 1, 1)


def text(shown: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=400).print(shown)
    return out.getvalue()


def test_a_job_shows_who_is_on_probation_with_the_audits_that_passed() -> None:
    assert "probation" not in text(job_details(JOB))
    shown = text(job_details(replace(JOB, probation={PEER: 3}, audits_needed=8)))
    assert f"{short_id(PEER)}: 3 of 8 audits passed" in shown


def test_peers_have_a_column_for_probation_where_somebody_is() -> None:
    assert "probation" not in text(peer_table([KNOWN]))
    shown = text(peer_table([KNOWN, replace(KNOWN, probation="cat since round 4: 3 of 8 audits")]))
    assert "cat since round 4: 3 of 8 audits" in shown
    assert "probation" in shown
