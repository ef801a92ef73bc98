"""What a stopped node's folder proves, and every way in which it may not."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.adapters.file_store import FileStore, open_store
from node.cli.evidence import verify_evidence
from node.cli.swarm.verify import verify_member
from node.errors import ConfigError
from node.identity import Identity
from node.jobs.manifest import JobManifest, JobSection, SignedManifest, sign_manifest, with_founders
from node.jobs.records import MANIFEST_PREFIX, JobRecords
from node.jobs.verify_folder import FolderReport, electors_in, verify_node_folder
from node.ledger.chain import genesis_id
from node.ledger.electorate import Electorate
from node.ledger.votes import COMMIT_VOTE, decision_id
from node.merkle import digest
from node.state.outer import OuterState
from node.state.snapshot import Shapes, state_root
from node.types import Digest, JobId
from node.wire.audit import KIND, Finding, Verdict, encode_finding
from node.wire.convert import encode_commitment, encode_evidence, encode_results, encode_vote
from node.wire.convert_ledger import decode_certificate, encode_certificate, encode_decision
from node.wire.messages import (
    Certificate,
    Commitment,
    Decision,
    Judgement,
    PartCommitment,
    Results,
    Signed,
    Vote,
    VoteSignature,
)
from tests.unit.stored import edit, flip

ROUNDS = 5
SKIPPED = 4
SHAPES: Shapes = (("weight", (30, 10)), ("bias", (10,)))


class Chain:
    """A job of n founders and its certificates, really signed."""

    def __init__(self, n: int, name: str = "toy") -> None:
        self.people = sorted((Identity(bytes([i]) * 32) for i in range(n)), key=lambda p: p.peer_id)
        manifest = with_founders(
            JobManifest(job=JobSection(name=name, workload="toy", rounds=ROUNDS)),
            [p.peer_id for p in self.people],
        )
        self.signed: SignedManifest = sign_manifest(manifest, self.people[0])
        self.job = self.signed.job_id
        self.electorate = Electorate.of(p.public_key for p in self.people)
        self.certificates: dict[int, Certificate] = {}
        prev = genesis_id(self.job)
        for round_ in range(1, ROUNDS + 1):
            decision = self.decision(round_, prev)
            self.certificates[round_] = self.certify(decision)
            prev = decision_id(encode_decision(decision))

    def state(self, round_: int) -> OuterState:
        rng = np.random.default_rng(round_ - (round_ == SKIPPED))
        params, momentum = rng.normal(0, 1, (2, 310)).astype(np.float32)
        return OuterState(params, momentum)

    def decision(self, round_: int, prev: Digest) -> Decision:
        n, skip = self.electorate.n, round_ == SKIPPED
        everybody = range(0 if skip else n)
        return Decision(
            job=self.job,
            round=round_,
            prev=prev,
            skip=skip,
            skip_reason="few" if skip else "",
            rule="" if skip else "mean",
            replicas=1,
            plan=tuple((e, digest("commitment", bytes([round_, e]))) for e in everybody),
            refused=((0, "late"),) if skip else (),
            result_roots=() if skip else (digest("result", bytes([round_])),),
            state_root=state_root(self.state(round_), SHAPES),
            credits=tuple((e, 100 + e) for e in everybody),
            bans=(),
            electors=self.electorate.keys,
            lease_until_round=ROUNDS,
            halted=False,
        )

    def certify(self, decision: Decision) -> Certificate:
        data = encode_decision(decision)
        body = encode_vote(Vote(0, decision_id(data)))
        signers = list(enumerate(self.people))[: self.electorate.quorum]
        votes = [
            VoteSignature(e, p.sign(COMMIT_VOTE, self.job, decision.round, body))
            for e, p in signers
        ]
        return Certificate(data, 0, tuple(votes))

    def cert_key(self, round_: int) -> str:
        return f"cert/{self.job.hex()}/{round_:012d}"

    def state_file(self, folder: Path, round_: int) -> Path:
        return folder / "blobs" / f"{self.job.hex()}~state-{round_:012d}"

    async def write(self, store: FileStore, states: Mapping[int, OuterState]) -> None:
        records = JobRecords(store, self.job)
        await store.put({MANIFEST_PREFIX + self.job.hex(): self.signed.encode()})
        await records.put_certificates(self.certificates)
        for round_, state in states.items():
            await records.put_state(round_, state, SHAPES, state_root(state, SHAPES).hex())

    def fill(self, folder: Path, states: Mapping[int, OuterState] | None = None) -> None:
        kept = {r: self.state(r) for r in (ROUNDS - 1, ROUNDS)} if states is None else states
        with closing(open_store(folder, self.people[0].peer_id)) as store:
            asyncio.run(self.write(store, kept))


@pytest.fixture
def chain() -> Chain:
    return Chain(4)


@pytest.fixture
def folder(chain: Chain, tmp_path: Path) -> Path:
    chain.fill(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("n", [1, 4])
def test_a_good_folder_proves_its_last_state_and_totals(n: int, tmp_path: Path) -> None:
    chain = Chain(n)
    chain.fill(tmp_path)
    assert verify_node_folder(tmp_path) == FolderReport(
        round=ROUNDS,
        state_root=state_root(chain.state(ROUNDS), SHAPES).hex(),
        agreement=True,
        reason="",
        refusals={"late": 1},
        skips=1,
        credits={p.peer_id: (ROUNDS - 1) * (100 + e) for e, p in enumerate(chain.people)},
    )


def test_the_state_before_a_skip_is_that_of_the_skip(tmp_path: Path) -> None:
    chain = Chain(4)
    del chain.certificates[ROUNDS]
    chain.fill(tmp_path, {SKIPPED - 1: chain.state(SKIPPED - 1)})
    report = verify_node_folder(tmp_path)
    assert (report.round, report.agreement, report.reason) == (SKIPPED, True, "")


def test_looking_changes_nothing_in_the_folder(folder: Path) -> None:
    def content() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    before = content()
    verify_node_folder(folder)
    assert content() == before


@pytest.mark.parametrize("where", range(0, 400, 13))
def test_a_flipped_bit_in_a_certificate_is_found(chain: Chain, folder: Path, where: int) -> None:
    size = len(encode_certificate(chain.certificates[3]))
    edit(folder, chain.cert_key(3), lambda data: flip(data, where * size // 400))
    report = verify_node_folder(folder)
    assert (report.round, report.agreement) == (2, False)
    assert report.reason.startswith("The certificate of round 3 does not verify: ")


def test_a_missing_certificate_in_the_middle_is_found(chain: Chain, folder: Path) -> None:
    edit(folder, chain.cert_key(3), None)
    report = verify_node_folder(folder)
    assert (report.round, report.agreement) == (2, False)
    assert report.reason == "The certificate of round 3 is missing: the next one is 000000000004."


def test_a_missing_last_certificate_is_found_by_the_state(chain: Chain, folder: Path) -> None:
    edit(folder, chain.cert_key(ROUNDS), None)
    report = verify_node_folder(folder)
    assert (report.round, report.agreement) == (ROUNDS - 1, False)
    assert "but round 4 certified" in report.reason


def test_a_vote_that_its_elector_did_not_sign_is_found(chain: Chain, folder: Path) -> None:
    def forge(data: bytes) -> bytes:
        certificate = decode_certificate(data)
        mallory, first = Identity(b"m" * 32), certificate.votes[0]
        body = encode_vote(Vote(0, decision_id(certificate.decision)))
        forged = replace(first, signature=mallory.sign(COMMIT_VOTE, chain.job, 2, body))
        return encode_certificate(replace(certificate, votes=(forged, *certificate.votes[1:])))

    edit(folder, chain.cert_key(2), forge)
    report = verify_node_folder(folder)
    assert (report.round, report.agreement) == (1, False)
    assert "elector 0 did not sign this vote" in report.reason


def test_too_few_votes_are_found(chain: Chain, folder: Path) -> None:
    def thin(data: bytes) -> bytes:
        certificate = decode_certificate(data)
        return encode_certificate(replace(certificate, votes=certificate.votes[1:]))

    edit(folder, chain.cert_key(2), thin)
    assert "votes of 2 electors, 3 needed" in verify_node_folder(folder).reason


def test_a_well_signed_decision_of_another_parent_is_found(chain: Chain, folder: Path) -> None:
    other = chain.certify(chain.decision(3, digest("decision", b"another")))
    edit(folder, chain.cert_key(3), lambda _: encode_certificate(other))
    report = verify_node_folder(folder)
    assert (report.round, report.agreement) == (2, False)
    assert "another parent" in report.reason


def test_a_state_that_is_not_the_certified_one_is_found(chain: Chain, tmp_path: Path) -> None:
    state = chain.state(ROUNDS)
    params = state.params.copy()
    params[7] = np.nextafter(params[7], np.float32(9))
    chain.fill(tmp_path, {ROUNDS: OuterState(params, state.momentum)})
    report = verify_node_folder(tmp_path)
    assert (report.round, report.agreement) == (ROUNDS, False)
    assert report.reason.startswith(f"The stored state has the root {report.state_root}, but")
    assert report.state_root not in ("", state_root(state, SHAPES).hex())


def test_a_state_that_is_behind_the_chain_is_found(chain: Chain, tmp_path: Path) -> None:
    chain.fill(tmp_path, {2: chain.state(2)})
    report = verify_node_folder(tmp_path)
    assert not report.agreement
    assert report.reason == "The newest stored state is that of round 2; 5 are certified."


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
def test_a_torn_state_file_is_found(chain: Chain, folder: Path, kept: float) -> None:
    file = chain.state_file(folder, ROUNDS)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    report = verify_node_folder(folder)
    assert (report.round, report.state_root, report.agreement) == (ROUNDS, "", False)
    assert report.reason.startswith(f"The state of round {ROUNDS} cannot be read: ")


def test_a_folder_without_a_state_or_without_a_round_proves_nothing(tmp_path: Path) -> None:
    chain = Chain(1)
    chain.fill(tmp_path / "stateless", {})
    assert verify_node_folder(tmp_path / "stateless").reason == "No state is stored."
    chain.certificates = {}
    chain.fill(tmp_path / "young", {0: chain.state(0)})
    report = verify_node_folder(tmp_path / "young")
    assert (report.round, report.agreement, report.reason) == (0, False, "No round is certified.")


def test_a_changed_manifest_is_found(chain: Chain, folder: Path) -> None:
    key = MANIFEST_PREFIX + chain.job.hex()
    edit(folder, key, lambda data: data.replace(b'"seed":0', b'"seed":1'))
    report = verify_node_folder(folder)
    assert not report.agreement
    assert "signature of the manifest does not verify" in report.reason
    edit(folder, key, lambda _: Chain(1).signed.encode())
    assert "is that of the job" in verify_node_folder(folder).reason


def test_of_several_jobs_one_must_be_named(tmp_path: Path) -> None:
    one, two = Chain(1, "one"), Chain(1, "two")
    one.fill(tmp_path)
    two.fill(tmp_path)
    with pytest.raises(ConfigError, match=r"holds 2 jobs .*say which one"):
        verify_node_folder(tmp_path)
    with pytest.raises(ConfigError, match="does not hold the job 00"):
        verify_node_folder(tmp_path, "00" * 32)
    edit(tmp_path, two.cert_key(1), None)
    assert verify_node_folder(tmp_path, one.job.hex()).agreement
    assert not verify_node_folder(tmp_path, two.job.hex()).agreement


def test_a_folder_of_no_node_or_of_a_running_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the data folder of a node"):
        verify_node_folder(tmp_path)
    chain = Chain(1)
    with (
        closing(open_store(tmp_path, chain.people[0].peer_id)),
        pytest.raises(ConfigError, match="stop it first"),
    ):
        verify_node_folder(tmp_path)
    with pytest.raises(ConfigError, match="holds 0 jobs"):
        verify_node_folder(tmp_path)
    report = verify_member(tmp_path)
    assert not report.agreement
    assert "holds 0 jobs" in report.reason


def test_a_slot_log_that_is_no_database_is_told(folder: Path) -> None:
    (folder / "store.sqlite").write_bytes(b"not a database" * 1000)
    report = verify_node_folder(folder)
    assert not report.agreement
    assert report.reason.startswith("The slot log cannot be read: ")


def test_a_killed_nodes_folder_is_read_with_what_is_only_in_its_log(
    chain: Chain, tmp_path: Path
) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    with closing(open_store(source, chain.people[0].peer_id)) as store:
        asyncio.run(chain.write(store, {ROUNDS: chain.state(ROUNDS)}))
        # As a power cut would leave it: nothing was moved from the log into the database.
        assert (source / "store.sqlite-wal").stat().st_size > 0
        (copy / "blobs").mkdir(parents=True)
        for file in [*source.glob("store.sqlite*"), source / "lock", *source.glob("blobs/*")]:
            (copy / file.relative_to(source)).write_bytes(file.read_bytes())
    report = verify_node_folder(copy)
    assert (report.round, report.agreement, report.reason) == (ROUNDS, True, "")


def test_verifying_needs_neither_torch_nor_hivemind() -> None:
    script = (
        "import sys, node.jobs.verify_folder\n"
        "print(sorted({'torch', 'hivemind', 'grpc', 'libp2p'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


# Whose findings count ---------------------------------------------------------------------------


def judgement(
    chain: Chain, round_: int, auditors: Sequence[Identity], *, answer: bool = False
) -> Judgement:
    """Findings on a commitment of the first founder, or on its answer as a reducer."""
    part, none = PartCommitment(Digest(bytes(32)), 1, 0), Digest(bytes(32))

    def sign(who: Identity, kind: str, body: bytes) -> Signed:
        signature = who.sign(kind, chain.job, round_, body)
        return Signed(kind, chain.job, round_, who.public_key, body, signature)

    made = Commitment(none, none, (part,), 1, 0, none, none, compute_class=none)
    on = sign(chain.people[0], "commit", encode_commitment(made))
    verdict = Verdict.BREACH
    if answer:
        on = sign(chain.people[0], "result", encode_results(Results(none, ((0, none),))))
        verdict = Verdict.FALSE_ANSWER
    body = encode_finding(Finding(on.id, verdict, b""))
    findings = [sign(who, KIND, body) for who in auditors]
    return Judgement(on, tuple(sorted(findings, key=lambda s: s.signer)))


def test_a_third_party_checks_a_judgement_with_the_chain_of_a_folder(
    chain: Chain, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strangers = [Identity(bytes([k, 9]) * 16) for k in range(2)]
    cases = [
        (judgement(chain, 3, chain.people[1:3]), 0),
        (judgement(chain, ROUNDS + 1, chain.people[1:3]), 0),
        (judgement(chain, 3, chain.people[1:2]), 1),
        (judgement(chain, 3, strangers), 1),
        (judgement(chain, ROUNDS + 2, chain.people[1:3]), 1),  # not certified so far
        (judgement(chain, 3, chain.people[1:3], answer=True), 0),
        (judgement(chain, 3, chain.people[1:2], answer=True), 1),
    ]
    file = tmp_path / "judgement"
    for evidence, expected in cases:
        file.write_bytes(encode_evidence(evidence))
        assert verify_evidence(file, folder, as_json=False) == expected
        assert verify_evidence(file, None, as_json=False) == 1
    told = capsys.readouterr().out
    assert f"VALID: {chain.people[0].peer_id} its work of round 3" in told
    assert f"VALID: {chain.people[0].peer_id} its answer as a reducer (result) of round 3" in told
    assert "give --folder" in told
    assert electors_in(folder, chain.job, 3) == chain.electorate
    with pytest.raises(ConfigError, match="does not hold the job"):
        electors_in(folder, JobId(bytes(32)), 3)
