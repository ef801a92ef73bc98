from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_TYPE_UNSPECIFIED: _ClassVar[KeyType]
    KEY_TYPE_INT8: _ClassVar[KeyType]
    KEY_TYPE_FP16: _ClassVar[KeyType]
KEY_TYPE_UNSPECIFIED: KeyType
KEY_TYPE_INT8: KeyType
KEY_TYPE_FP16: KeyType

class BatchHeader(_message.Message):
    __slots__ = ("job", "author", "seq", "prev", "first_entry", "prev_first_entry", "entries", "key_dims", "key_type", "key_scale", "payload_bytes", "body_hash")
    JOB_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    FIRST_ENTRY_FIELD_NUMBER: _ClassVar[int]
    PREV_FIRST_ENTRY_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    KEY_DIMS_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_SCALE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BODY_HASH_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    author: bytes
    seq: int
    prev: bytes
    first_entry: int
    prev_first_entry: int
    entries: int
    key_dims: int
    key_type: KeyType
    key_scale: int
    payload_bytes: int
    body_hash: bytes
    def __init__(self, job: _Optional[bytes] = ..., author: _Optional[bytes] = ..., seq: _Optional[int] = ..., prev: _Optional[bytes] = ..., first_entry: _Optional[int] = ..., prev_first_entry: _Optional[int] = ..., entries: _Optional[int] = ..., key_dims: _Optional[int] = ..., key_type: _Optional[_Union[KeyType, str]] = ..., key_scale: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., body_hash: _Optional[bytes] = ...) -> None: ...

class SignedHeader(_message.Message):
    __slots__ = ("header", "signature")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    header: bytes
    signature: bytes
    def __init__(self, header: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("signed", "body")
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    signed: SignedHeader
    body: bytes
    def __init__(self, signed: _Optional[_Union[SignedHeader, _Mapping]] = ..., body: _Optional[bytes] = ...) -> None: ...

class ForkEvidence(_message.Message):
    __slots__ = ("one", "other")
    ONE_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    one: SignedHeader
    other: SignedHeader
    def __init__(self, one: _Optional[_Union[SignedHeader, _Mapping]] = ..., other: _Optional[_Union[SignedHeader, _Mapping]] = ...) -> None: ...

class MemoryLine(_message.Message):
    __slots__ = ("author", "start", "next", "entries", "head", "forked")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    author: bytes
    start: int
    next: int
    entries: int
    head: bytes
    forked: bool
    def __init__(self, author: _Optional[bytes] = ..., start: _Optional[int] = ..., next: _Optional[int] = ..., entries: _Optional[int] = ..., head: _Optional[bytes] = ..., forked: _Optional[bool] = ...) -> None: ...

class MemoryRequest(_message.Message):
    __slots__ = ("job", "lines", "hint")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    lines: _containers.RepeatedCompositeFieldContainer[MemoryLine]
    hint: bool
    def __init__(self, job: _Optional[bytes] = ..., lines: _Optional[_Iterable[_Union[MemoryLine, _Mapping]]] = ..., hint: _Optional[bool] = ...) -> None: ...

class MemoryReply(_message.Message):
    __slots__ = ("lines", "evidence")
    LINES_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[MemoryLine]
    evidence: _containers.RepeatedCompositeFieldContainer[ForkEvidence]
    def __init__(self, lines: _Optional[_Iterable[_Union[MemoryLine, _Mapping]]] = ..., evidence: _Optional[_Iterable[_Union[ForkEvidence, _Mapping]]] = ...) -> None: ...

class BatchWant(_message.Message):
    __slots__ = ("author", "from_seq", "bytes_max")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    author: bytes
    from_seq: int
    bytes_max: int
    def __init__(self, author: _Optional[bytes] = ..., from_seq: _Optional[int] = ..., bytes_max: _Optional[int] = ...) -> None: ...

class BatchesRequest(_message.Message):
    __slots__ = ("job", "wants")
    JOB_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    wants: _containers.RepeatedCompositeFieldContainer[BatchWant]
    def __init__(self, job: _Optional[bytes] = ..., wants: _Optional[_Iterable[_Union[BatchWant, _Mapping]]] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("job", "body")
    JOB_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    body: bytes
    def __init__(self, job: _Optional[bytes] = ..., body: _Optional[bytes] = ...) -> None: ...
