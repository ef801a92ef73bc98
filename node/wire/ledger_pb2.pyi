from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VoteSignature(_message.Message):
    __slots__ = ("elector", "signature")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    elector: int
    signature: bytes
    def __init__(self, elector: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PrepareCertificate(_message.Message):
    __slots__ = ("view", "decision_id", "votes")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    view: int
    decision_id: bytes
    votes: _containers.RepeatedCompositeFieldContainer[VoteSignature]
    def __init__(self, view: _Optional[int] = ..., decision_id: _Optional[bytes] = ..., votes: _Optional[_Iterable[_Union[VoteSignature, _Mapping]]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("decision", "view", "votes")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    decision: bytes
    view: int
    votes: _containers.RepeatedCompositeFieldContainer[VoteSignature]
    def __init__(self, decision: _Optional[bytes] = ..., view: _Optional[int] = ..., votes: _Optional[_Iterable[_Union[VoteSignature, _Mapping]]] = ...) -> None: ...

class PlannedContribution(_message.Message):
    __slots__ = ("elector", "commitment_id")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_ID_FIELD_NUMBER: _ClassVar[int]
    elector: int
    commitment_id: bytes
    def __init__(self, elector: _Optional[int] = ..., commitment_id: _Optional[bytes] = ...) -> None: ...

class RefusedContribution(_message.Message):
    __slots__ = ("elector", "reason")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    elector: int
    reason: str
    def __init__(self, elector: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("elector", "micro")
    ELECTOR_FIELD_NUMBER: _ClassVar[int]
    MICRO_FIELD_NUMBER: _ClassVar[int]
    elector: int
    micro: int
    def __init__(self, elector: _Optional[int] = ..., micro: _Optional[int] = ...) -> None: ...

class Elector(_message.Message):
    __slots__ = ("public_key", "incarnation")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    incarnation: int
    def __init__(self, public_key: _Optional[bytes] = ..., incarnation: _Optional[int] = ...) -> None: ...

class Governance(_message.Message):
    __slots__ = ("lease_until_round", "halted")
    LEASE_UNTIL_ROUND_FIELD_NUMBER: _ClassVar[int]
    HALTED_FIELD_NUMBER: _ClassVar[int]
    lease_until_round: int
    halted: bool
    def __init__(self, lease_until_round: _Optional[int] = ..., halted: _Optional[bool] = ...) -> None: ...

class MemoryReach(_message.Message):
    __slots__ = ("author", "next", "entries")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    author: bytes
    next: int
    entries: int
    def __init__(self, author: _Optional[bytes] = ..., next: _Optional[int] = ..., entries: _Optional[int] = ...) -> None: ...

class CountedContribution(_message.Message):
    __slots__ = ("key", "round", "commitment_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_ID_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    round: int
    commitment_id: bytes
    def __init__(self, key: _Optional[bytes] = ..., round: _Optional[int] = ..., commitment_id: _Optional[bytes] = ...) -> None: ...

class ProbationStep(_message.Message):
    __slots__ = ("entered", "counted", "passed")
    ENTERED_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    entered: _containers.RepeatedScalarFieldContainer[bytes]
    counted: _containers.RepeatedCompositeFieldContainer[CountedContribution]
    passed: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entered: _Optional[_Iterable[bytes]] = ..., counted: _Optional[_Iterable[_Union[CountedContribution, _Mapping]]] = ..., passed: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("job", "round", "prev", "skip", "skip_reason", "rule", "replicas", "plan", "refused", "result_roots", "state_root", "credits", "bans", "next", "governance", "memory", "beacon", "unrevealed", "cleared", "probation")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    SKIP_REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RESULT_ROOTS_FIELD_NUMBER: _ClassVar[int]
    STATE_ROOT_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    BANS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    GOVERNANCE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    BEACON_FIELD_NUMBER: _ClassVar[int]
    UNREVEALED_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    PROBATION_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    round: int
    prev: bytes
    skip: bool
    skip_reason: str
    rule: str
    replicas: int
    plan: _containers.RepeatedCompositeFieldContainer[PlannedContribution]
    refused: _containers.RepeatedCompositeFieldContainer[RefusedContribution]
    result_roots: _containers.RepeatedScalarFieldContainer[bytes]
    state_root: bytes
    credits: _containers.RepeatedCompositeFieldContainer[Credit]
    bans: _containers.RepeatedScalarFieldContainer[bytes]
    next: _containers.RepeatedCompositeFieldContainer[Elector]
    governance: Governance
    memory: _containers.RepeatedCompositeFieldContainer[MemoryReach]
    beacon: bytes
    unrevealed: _containers.RepeatedScalarFieldContainer[int]
    cleared: _containers.RepeatedScalarFieldContainer[bytes]
    probation: ProbationStep
    def __init__(self, job: _Optional[bytes] = ..., round: _Optional[int] = ..., prev: _Optional[bytes] = ..., skip: _Optional[bool] = ..., skip_reason: _Optional[str] = ..., rule: _Optional[str] = ..., replicas: _Optional[int] = ..., plan: _Optional[_Iterable[_Union[PlannedContribution, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[RefusedContribution, _Mapping]]] = ..., result_roots: _Optional[_Iterable[bytes]] = ..., state_root: _Optional[bytes] = ..., credits: _Optional[_Iterable[_Union[Credit, _Mapping]]] = ..., bans: _Optional[_Iterable[bytes]] = ..., next: _Optional[_Iterable[_Union[Elector, _Mapping]]] = ..., governance: _Optional[_Union[Governance, _Mapping]] = ..., memory: _Optional[_Iterable[_Union[MemoryReach, _Mapping]]] = ..., beacon: _Optional[bytes] = ..., unrevealed: _Optional[_Iterable[int]] = ..., cleared: _Optional[_Iterable[bytes]] = ..., probation: _Optional[_Union[ProbationStep, _Mapping]] = ...) -> None: ...

class ChainRequest(_message.Message):
    __slots__ = ("job", "from_round", "count")
    JOB_FIELD_NUMBER: _ClassVar[int]
    FROM_ROUND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    from_round: int
    count: int
    def __init__(self, job: _Optional[bytes] = ..., from_round: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class ChainReply(_message.Message):
    __slots__ = ("certificates",)
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    def __init__(self, certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("job", "state_root", "chunks")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_ROOT_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    state_root: bytes
    chunks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job: _Optional[bytes] = ..., state_root: _Optional[bytes] = ..., chunks: _Optional[_Iterable[int]] = ...) -> None: ...

class StateReply(_message.Message):
    __slots__ = ("chunk_hashes",)
    CHUNK_HASHES_FIELD_NUMBER: _ClassVar[int]
    chunk_hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chunk_hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...
