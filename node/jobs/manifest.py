"""A job's manifest: TOML of its author -> canonical bytes -> job id -> signed by its proposer.

Implements docs/protocol.md, "Manifest". The job id is a hash of the canonical bytes, so all that
decides how a job runs, its first electorate included, is inside them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from blake3 import blake3
from google.protobuf.message import DecodeError
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from node.config import Many, Settings, build, read_toml
from node.errors import BadSignature, Malformed, TooLarge
from node.identity import Signer, Verifier, public_key_of, verify
from node.jobs.manifest_values import INT_MAX, RuleText, peer, plain
from node.ledger.admission import AdmissionRules
from node.ledger.chain import Head, genesis
from node.ledger.electorate import Electorate
from node.ledger.vetting import Vetting
from node.types import ELECTORS_MAX, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, JobId, PeerId
from node.wire import peer_pb2

MANIFEST_BYTES_MAX = 64 * 1024
"""Largest canonical manifest, in bytes."""
SIGNED_MANIFEST_BYTES_MAX = MANIFEST_BYTES_MAX + 256
"""Largest encoded ``SignedManifest``, in bytes."""
SIGNATURE_KIND = "manifest"

_DOMAIN = b"artel/1 job\0"
_NAME = r"^[a-z][a-z0-9_]{0,31}\z"
_OPTIONAL_NAME = r"^([a-z][a-z0-9_]{0,31})?\z"


class JobSection(Settings):
    """What is trained."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,64}\z")
    """For people; the job id identifies."""
    workload: str = Field(pattern=r"^[a-z0-9_-]{1,64}\z")
    """Name in the entry-point group ``artel.workloads``."""
    seed: int = Field(default=0, ge=0, le=INT_MAX)
    """Seeds the first parameters and the order of the data."""
    rounds: int = Field(ge=1, le=10**7)
    """The last round; the job is done when it is certified."""


class RoundSection(Settings):
    """How long the phases of a round last. Seconds are of each node's own clock."""

    steps: int = Field(default=20, ge=1, le=10**6)
    """Nominal local steps of a round."""
    train_s_max: float = Field(default=60.0, ge=0.01, le=86400.0)
    """Training stops then, whatever was done."""
    commit_s_min: float = Field(default=0.05, ge=0.001, le=3600.0)
    commit_s_max: float = Field(default=30.0, ge=0.001, le=3600.0)
    """Clamp of the wait for commitments, from the start of the round."""
    view_s_min: float = Field(default=1.0, ge=0.01, le=3600.0)
    view_s_max: float = Field(default=60.0, ge=0.01, le=3600.0)
    """Clamp of the adaptive base T of a view's timer."""
    call_s_max: float = Field(default=10.0, ge=0.01, le=3600.0)
    """Longest wait for the reply to one call."""
    group_min: int = Field(default=1, ge=1, le=ELECTORS_MAX)
    """Least contributions of a round; with fewer it is skipped."""
    artifacts_every: int = Field(default=0, ge=0, le=10**7)
    """Rounds between artifacts; 0: only at the end."""
    evaluate_every: int = Field(default=1, ge=1, le=10**7)
    """Rounds between evaluations."""

    @model_validator(mode="after")
    def _ordered(self) -> "RoundSection":
        if self.commit_s_min > self.commit_s_max or self.view_s_min > self.view_s_max:
            raise ValueError("commit_s_min and view_s_min must not be above their _max")
        return self


class ExchangeSection(Settings):
    """How updates are encoded and combined. Names are those of the node's registries."""

    codec: str = Field(default="int8", pattern=_NAME)
    result_codec: str = Field(default="", pattern=_OPTIONAL_NAME)
    """Codec of the results; empty: as ``codec``."""
    rule: RuleText = "caf"
    """A rule, or steps before it and a rule with ``|`` between them: ``nnm | caf``."""
    rule_small: RuleText = "trimmed_mean"
    """Rule where there are fewer contributions than ``rule`` is defined for."""
    replicas: int = Field(default=0, ge=0, le=ELECTORS_MAX)
    """Reducers of each part; 0: min(f + 1, 3)."""
    f: Literal["", "auto"] = ""
    """Liars that a rule bears; empty: as many as the electorate, ``auto``: as many as audits still
    allow. Not written where it is empty."""
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    """beta of each contributor's moving average over its updates; 0: each update as it is."""

    @model_serializer(mode="wrap")
    def _without_empty_f(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A job that does not use ``f`` has the id that it would have without the field."""
        return {k: v for k, v in whole(self).items() if k != "f" or v}


class OuterSection(Settings):
    """The outer optimizer, which applies the aggregate to the global state."""

    lr: float = Field(default=1.0, gt=0.0, le=100.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    nesterov: bool = True


class ElectorateSection(Settings):
    """Who votes."""

    founders: Many[Annotated[str, AfterValidator(peer)]] = Field(
        default=(), max_length=ELECTORS_MAX
    )
    """E_1, peer ids. Empty: the proposer alone, written in when the manifest is signed."""

    @model_validator(mode="after")
    def _distinct(self) -> "ElectorateSection":
        if len(set(self.founders)) != len(self.founders):
            raise ValueError("founders must not repeat")
        return self


class AdmissionSection(Settings):
    """Who may enter the electorate later. Founders that lost their seat by absence always may."""

    mode: Literal["list", "work", "open"] = "list"
    """``list``: those in ``peers``; also, a few at a time, ``work``: whoever proves work, or
    ``open``: whoever passes probation."""
    peers: Many[Annotated[str, AfterValidator(peer)]] = Field(default=(), max_length=1024)
    """Peer ids that may enter at any time."""
    work_bits: int = Field(default=24, ge=1, le=40)
    """Leading zero bits of the proof of work: 2^bits hashes on average, about 2 us each."""
    audits: int = Field(default=8, ge=1, le=1000)
    """Audits that a stranger passes on probation; a quarter of its contributions are drawn."""


class AuditSection(Settings):
    """How often local steps are taken again by others."""

    rate: float = Field(default=0.006, ge=0.0, le=1.0)
    """Chance that a contribution is audited. At 0.006 audits cost at most a twentieth of what
    rounds do, openings included (docs/protocol.md, "Audits"); 0: never."""


class JobManifest(Settings):
    """Everything that decides how a job runs. Its tables must not be changed in place."""

    job: JobSection
    workload: Annotated[dict[str, Any], AfterValidator(plain)] = Field(default_factory=dict)
    """Settings that the workload checks itself: JSON values, at most 8 deep."""
    round: RoundSection = RoundSection()
    exchange: ExchangeSection = ExchangeSection()
    outer: OuterSection = OuterSection()
    audit: AuditSection = AuditSection()
    electorate: ElectorateSection = ElectorateSection()
    admission: AdmissionSection = AdmissionSection()

    @model_validator(mode="after")
    def _audits_strangers(self) -> "JobManifest":
        if self.admission.mode == "open" and not self.audit.rate:
            raise ValueError('admission.mode "open" rests on audits: give audit.rate above 0')
        return self

    @model_validator(mode="after")
    def _small(self) -> "JobManifest":
        if self.exchange.f and not self.audit.rate:
            raise ValueError('exchange.f = "auto" follows from audits: audit.rate must be above 0')
        if len(canonical_bytes(self)) > MANIFEST_BYTES_MAX:
            raise ValueError(f"a manifest has at most {MANIFEST_BYTES_MAX} canonical bytes")
        return self


def parse_manifest(
    toml_text: str, overrides: Mapping[str, str], source: str = "manifest"
) -> JobManifest:
    """Parse a job file.

    Args:
        toml_text: The file's text.
        overrides: ``round.steps`` -> text, parsed as a TOML value, else taken as a string.
        source: Names the file in errors.

    Raises:
        ConfigError: lists every problem.
    """
    return build(JobManifest, read_toml(toml_text, overrides, source), source)


def canonical_bytes(manifest: JobManifest) -> bytes:
    """The one spelling of a manifest: JSON, all fields, sorted keys, no spaces, ASCII."""
    text = json.dumps(manifest.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def manifest_from_canonical(raw: bytes) -> JobManifest:
    """Read canonical bytes, which a peer may have written.

    Raises:
        TooLarge: above MANIFEST_BYTES_MAX.
        Malformed: not a manifest, or another spelling of one.
    """
    if len(raw) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"a manifest has at most {MANIFEST_BYTES_MAX} bytes")
    try:
        manifest = JobManifest.model_validate(json.loads(raw.decode("ascii")))
    # json nests by recursion, so 64 KiB of "[" end in RecursionError.
    except (ValueError, ValidationError, RecursionError) as error:
        raise Malformed(f"not a manifest: {str(error)[:500]}") from error
    if canonical_bytes(manifest) != raw:
        raise Malformed("the manifest is not in canonical form")
    return manifest


def job_id(raw: bytes) -> JobId:
    """The id of the job whose canonical manifest is ``raw``: BLAKE3 with its own prefix."""
    return JobId(blake3(_DOMAIN + raw).digest())


def with_founders(manifest: JobManifest, founders: Sequence[PeerId]) -> JobManifest:
    """The manifest with ``founders``, sorted, as its first electorate.

    Raises:
        ValueError: a peer id is none, repeats, or there are more than ELECTORS_MAX.
    """
    tables = manifest.model_dump()
    tables["electorate"]["founders"] = sorted(founders)
    return JobManifest.model_validate(tables)


@dataclass(frozen=True)
class SignedManifest:
    """A manifest whose founders are named, as its proposer signed it."""

    raw: bytes
    """Canonical bytes."""
    proposer: bytes
    """Public key, 32 bytes."""
    signature: bytes
    """Of kind ``manifest`` on ``raw`` under the job id, 64 bytes."""
    manifest: JobManifest
    """``raw``, parsed."""

    @property
    def job_id(self) -> JobId:
        """Id of the job."""
        return job_id(self.raw)

    @property
    def founders(self) -> tuple[PeerId, ...]:
        """E_1, as listed."""
        return tuple(PeerId(peer) for peer in self.manifest.electorate.founders)

    @property
    def genesis(self) -> Head:
        """The head of the job's chain before round 1."""
        founders = Electorate.of(map(public_key_of, self.founders))
        said = self.manifest.admission
        keys = frozenset(map(public_key_of, (*self.founders, *said.peers)))
        rules = AdmissionRules(said.mode, keys, said.work_bits, said.audits)
        vetting = Vetting(self.manifest.audit.rate if self.manifest.exchange.f else 0.0)
        return genesis(self.job_id, founders, self.manifest.job.rounds, rules, vetting)

    def encode(self) -> bytes:
        """Bytes of the wire message."""
        return peer_pb2.SignedManifest(
            manifest=self.raw, proposer=self.proposer, signature=self.signature
        ).SerializeToString(deterministic=True)


def sign_manifest(manifest: JobManifest, signer: Signer) -> SignedManifest:
    """Propose ``manifest``; without founders, the proposer becomes the only one.

    The founders are written in before hashing: were they left to the signature, two proposers of
    the same bytes would share one job id and disagree on who votes.
    """
    if not manifest.electorate.founders:
        manifest = with_founders(manifest, [signer.peer_id])
    raw = canonical_bytes(manifest)
    signature = signer.sign(SIGNATURE_KIND, job_id(raw), 0, raw)
    return SignedManifest(raw, signer.public_key, signature, manifest)


def decode_signed_manifest(encoded: bytes, verifier: Verifier = verify) -> SignedManifest:
    """Read and verify a proposal that a peer may have written.

    Raises:
        TooLarge: above SIGNED_MANIFEST_BYTES_MAX.
        Malformed: not a proposal, not canonical, or its founders are not named.
        BadSignature: the proposer did not sign it.
    """
    if len(encoded) > SIGNED_MANIFEST_BYTES_MAX:
        raise TooLarge(f"a signed manifest has at most {SIGNED_MANIFEST_BYTES_MAX} bytes")
    try:
        wire = peer_pb2.SignedManifest.FromString(encoded)
    except DecodeError as error:
        raise Malformed("not a signed manifest") from error
    if len(wire.proposer) != PUBLIC_KEY_BYTES or len(wire.signature) != SIGNATURE_BYTES:
        raise Malformed("a signed manifest has a key of 32 and a signature of 64 bytes")
    if len(wire.manifest) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"a manifest has at most {MANIFEST_BYTES_MAX} bytes")
    # The signature first: parsing costs more, and only the proposer's bytes deserve it.
    if not verifier(
        wire.proposer, SIGNATURE_KIND, job_id(wire.manifest), 0, wire.manifest, wire.signature
    ):
        raise BadSignature("the signature of the manifest does not verify")
    manifest = manifest_from_canonical(wire.manifest)
    if not manifest.electorate.founders:
        raise Malformed("a signed manifest names its founders")
    return SignedManifest(wire.manifest, wire.proposer, wire.signature, manifest)
