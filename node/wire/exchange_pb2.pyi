from node.wire import ledger_pb2 as _ledger_pb2
from node.wire import memory_pb2 as _memory_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signed(_message.Message):
    __slots__ = ("kind", "signer", "body", "signature")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    signer: bytes
    body: bytes
    signature: bytes
    def __init__(self, kind: _Optional[str] = ..., signer: _Optional[bytes] = ..., body: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PartCommitment(_message.Message):
    __slots__ = ("leaf", "square_norm", "exponent")
    LEAF_FIELD_NUMBER: _ClassVar[int]
    SQUARE_NORM_FIELD_NUMBER: _ClassVar[int]
    EXPONENT_FIELD_NUMBER: _ClassVar[int]
    leaf: bytes
    square_norm: int
    exponent: int
    def __init__(self, leaf: _Optional[bytes] = ..., square_norm: _Optional[int] = ..., exponent: _Optional[int] = ...) -> None: ...

class Commitment(_message.Message):
    __slots__ = ("prev", "state_root", "parts", "steps", "loss_micro", "local_before", "local_after", "memory", "compute_class", "cleared")
    PREV_FIELD_NUMBER: _ClassVar[int]
    STATE_ROOT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_MICRO_FIELD_NUMBER: _ClassVar[int]
    LOCAL_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_AFTER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_CLASS_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    prev: bytes
    state_root: bytes
    parts: _containers.RepeatedCompositeFieldContainer[PartCommitment]
    steps: int
    loss_micro: int
    local_before: bytes
    local_after: bytes
    memory: _containers.RepeatedCompositeFieldContainer[_memory_pb2.MemoryLine]
    compute_class: bytes
    cleared: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, prev: _Optional[bytes] = ..., state_root: _Optional[bytes] = ..., parts: _Optional[_Iterable[_Union[PartCommitment, _Mapping]]] = ..., steps: _Optional[int] = ..., loss_micro: _Optional[int] = ..., local_before: _Optional[bytes] = ..., local_after: _Optional[bytes] = ..., memory: _Optional[_Iterable[_Union[_memory_pb2.MemoryLine, _Mapping]]] = ..., compute_class: _Optional[bytes] = ..., cleared: _Optional[_Iterable[bytes]] = ...) -> None: ...

class HeldCommitment(_message.Message):
    __slots__ = ("elector", "id")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    elector: int
    id: bytes
    def __init__(self, elector: _Optional[int] = ..., id: _Optional[bytes] = ...) -> None: ...

class Have(_message.Message):
    __slots__ = ("view", "held", "prepared", "nonce_hash")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    NONCE_HASH_FIELD_NUMBER: _ClassVar[int]
    view: int
    held: _containers.RepeatedCompositeFieldContainer[HeldCommitment]
    prepared: _ledger_pb2.PrepareCertificate
    nonce_hash: bytes
    def __init__(self, view: _Optional[int] = ..., held: _Optional[_Iterable[_Union[HeldCommitment, _Mapping]]] = ..., prepared: _Optional[_Union[_ledger_pb2.PrepareCertificate, _Mapping]] = ..., nonce_hash: _Optional[bytes] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("job", "round", "first", "second", "fork", "findings")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    FORK_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    round: int
    first: Signed
    second: Signed
    fork: _memory_pb2.ForkEvidence
    findings: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, job: _Optional[bytes] = ..., round: _Optional[int] = ..., first: _Optional[_Union[Signed, _Mapping]] = ..., second: _Optional[_Union[Signed, _Mapping]] = ..., fork: _Optional[_Union[_memory_pb2.ForkEvidence, _Mapping]] = ..., findings: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class List(_message.Message):
    __slots__ = ("view", "wide", "haves", "commitments", "evidence", "applications", "probation")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    WIDE_FIELD_NUMBER: _ClassVar[int]
    HAVES_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    PROBATION_FIELD_NUMBER: _ClassVar[int]
    view: int
    wide: bool
    haves: _containers.RepeatedCompositeFieldContainer[Signed]
    commitments: _containers.RepeatedCompositeFieldContainer[HeldCommitment]
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    applications: _containers.RepeatedCompositeFieldContainer[Signed]
    probation: _containers.RepeatedCompositeFieldContainer[PastSigned]
    def __init__(self, view: _Optional[int] = ..., wide: _Optional[bool] = ..., haves: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., commitments: _Optional[_Iterable[_Union[HeldCommitment, _Mapping]]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., applications: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., probation: _Optional[_Iterable[_Union[PastSigned, _Mapping]]] = ...) -> None: ...

class PastSigned(_message.Message):
    __slots__ = ("round", "signed")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    round: int
    signed: Signed
    def __init__(self, round: _Optional[int] = ..., signed: _Optional[_Union[Signed, _Mapping]] = ...) -> None: ...

class Complaint(_message.Message):
    __slots__ = ("elector", "reason")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    elector: int
    reason: str
    def __init__(self, elector: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PartScreen(_message.Message):
    __slots__ = ("part", "rows", "gram", "complaints")
    PART_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    GRAM_FIELD_NUMBER: _ClassVar[int]
    COMPLAINTS_FIELD_NUMBER: _ClassVar[int]
    part: int
    rows: _containers.RepeatedScalarFieldContainer[int]
    gram: bytes
    complaints: _containers.RepeatedCompositeFieldContainer[Complaint]
    def __init__(self, part: _Optional[int] = ..., rows: _Optional[_Iterable[int]] = ..., gram: _Optional[bytes] = ..., complaints: _Optional[_Iterable[_Union[Complaint, _Mapping]]] = ...) -> None: ...

class Screens(_message.Message):
    __slots__ = ("list_id", "screens")
    LIST_ID_FIELD_NUMBER: _ClassVar[int]
    SCREENS_FIELD_NUMBER: _ClassVar[int]
    list_id: bytes
    screens: _containers.RepeatedCompositeFieldContainer[PartScreen]
    def __init__(self, list_id: _Optional[bytes] = ..., screens: _Optional[_Iterable[_Union[PartScreen, _Mapping]]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("list_id", "screens")
    LIST_ID_FIELD_NUMBER: _ClassVar[int]
    SCREENS_FIELD_NUMBER: _ClassVar[int]
    list_id: bytes
    screens: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, list_id: _Optional[bytes] = ..., screens: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class PartResult(_message.Message):
    __slots__ = ("part", "root")
    PART_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    part: int
    root: bytes
    def __init__(self, part: _Optional[int] = ..., root: _Optional[bytes] = ...) -> None: ...

class Results(_message.Message):
    __slots__ = ("plan_id", "results")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    plan_id: bytes
    results: _containers.RepeatedCompositeFieldContainer[PartResult]
    def __init__(self, plan_id: _Optional[bytes] = ..., results: _Optional[_Iterable[_Union[PartResult, _Mapping]]] = ...) -> None: ...

class Seal(_message.Message):
    __slots__ = ("plan_id", "results")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    plan_id: bytes
    results: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, plan_id: _Optional[bytes] = ..., results: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Reveal(_message.Message):
    __slots__ = ("view", "seal_id", "nonce")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    SEAL_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    view: int
    seal_id: bytes
    nonce: bytes
    def __init__(self, view: _Optional[int] = ..., seal_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class Beacon(_message.Message):
    __slots__ = ("seal_id", "reveals")
    SEAL_ID_FIELD_NUMBER: _ClassVar[int]
    REVEALS_FIELD_NUMBER: _ClassVar[int]
    seal_id: bytes
    reveals: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, seal_id: _Optional[bytes] = ..., reveals: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Sketches(_message.Message):
    __slots__ = ("beacon_id", "parts")
    BEACON_ID_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    beacon_id: bytes
    parts: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, beacon_id: _Optional[bytes] = ..., parts: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("view", "decision", "plan_id", "results", "haves", "prepared", "beacon_id", "sketches")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    HAVES_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    BEACON_ID_FIELD_NUMBER: _ClassVar[int]
    SKETCHES_FIELD_NUMBER: _ClassVar[int]
    view: int
    decision: bytes
    plan_id: bytes
    results: _containers.RepeatedCompositeFieldContainer[Signed]
    haves: _containers.RepeatedCompositeFieldContainer[Signed]
    prepared: _ledger_pb2.PrepareCertificate
    beacon_id: bytes
    sketches: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, view: _Optional[int] = ..., decision: _Optional[bytes] = ..., plan_id: _Optional[bytes] = ..., results: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., haves: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., prepared: _Optional[_Union[_ledger_pb2.PrepareCertificate, _Mapping]] = ..., beacon_id: _Optional[bytes] = ..., sketches: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class PartBytes(_message.Message):
    __slots__ = ("part", "data")
    PART_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    part: int
    data: bytes
    def __init__(self, part: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Scatter(_message.Message):
    __slots__ = ("commitment", "parts")
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    commitment: Signed
    parts: _containers.RepeatedCompositeFieldContainer[PartBytes]
    def __init__(self, commitment: _Optional[_Union[Signed, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[PartBytes, _Mapping]]] = ...) -> None: ...

class Spread(_message.Message):
    __slots__ = ("plan_id", "parts", "result")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    plan_id: bytes
    parts: _containers.RepeatedCompositeFieldContainer[PartBytes]
    result: Signed
    def __init__(self, plan_id: _Optional[bytes] = ..., parts: _Optional[_Iterable[_Union[PartBytes, _Mapping]]] = ..., result: _Optional[_Union[Signed, _Mapping]] = ...) -> None: ...

class RoundMessage(_message.Message):
    __slots__ = ("job", "round", "prev", "signed", "scatter", "spread", "prepared", "certificate", "evidence")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    SCATTER_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    round: int
    prev: bytes
    signed: Signed
    scatter: Scatter
    spread: Spread
    prepared: _ledger_pb2.PrepareCertificate
    certificate: _ledger_pb2.Certificate
    evidence: Evidence
    def __init__(self, job: _Optional[bytes] = ..., round: _Optional[int] = ..., prev: _Optional[bytes] = ..., signed: _Optional[_Union[Signed, _Mapping]] = ..., scatter: _Optional[_Union[Scatter, _Mapping]] = ..., spread: _Optional[_Union[Spread, _Mapping]] = ..., prepared: _Optional[_Union[_ledger_pb2.PrepareCertificate, _Mapping]] = ..., certificate: _Optional[_Union[_ledger_pb2.Certificate, _Mapping]] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("round", "prev")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    round: int
    prev: bytes
    def __init__(self, round: _Optional[int] = ..., prev: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("job", "round", "ids")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    round: int
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, job: _Optional[bytes] = ..., round: _Optional[int] = ..., ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FetchReply(_message.Message):
    __slots__ = ("signed", "parts")
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    signed: _containers.RepeatedCompositeFieldContainer[Signed]
    parts: _containers.RepeatedCompositeFieldContainer[PartBytes]
    def __init__(self, signed: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., parts: _Optional[_Iterable[_Union[PartBytes, _Mapping]]] = ...) -> None: ...
