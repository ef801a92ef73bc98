from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PeerRecord(_message.Message):
    __slots__ = ("public_key", "sequence", "issued_unix_ms", "expires_unix_ms", "addresses", "swarm", "jobs", "version", "incarnation", "serves_any")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SWARM_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SERVES_ANY_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    sequence: int
    issued_unix_ms: int
    expires_unix_ms: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    swarm: str
    jobs: _containers.RepeatedScalarFieldContainer[bytes]
    version: str
    incarnation: int
    serves_any: bool
    def __init__(self, public_key: _Optional[bytes] = ..., sequence: _Optional[int] = ..., issued_unix_ms: _Optional[int] = ..., expires_unix_ms: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., swarm: _Optional[str] = ..., jobs: _Optional[_Iterable[bytes]] = ..., version: _Optional[str] = ..., incarnation: _Optional[int] = ..., serves_any: _Optional[bool] = ...) -> None: ...

class SignedRecord(_message.Message):
    __slots__ = ("record", "signature")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    record: bytes
    signature: bytes
    def __init__(self, record: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PeerExchangeRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PeerExchangeReply(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SignedManifest(_message.Message):
    __slots__ = ("manifest", "proposer", "signature")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    proposer: bytes
    signature: bytes
    def __init__(self, manifest: _Optional[bytes] = ..., proposer: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
