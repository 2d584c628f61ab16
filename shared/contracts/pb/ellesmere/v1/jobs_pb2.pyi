from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Blob(_message.Message):
    __slots__ = ("sha256", "size")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size: int
    def __init__(self, sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: bytes
    def __init__(self, frame: _Optional[bytes] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("tenant", "job", "sequence", "duplicate", "digest")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    sequence: int
    duplicate: bool
    digest: str
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ..., sequence: _Optional[int] = ..., duplicate: _Optional[bool] = ..., digest: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("tenant", "job")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("event_json", "finished_json")
    EVENT_JSON_FIELD_NUMBER: _ClassVar[int]
    FINISHED_JSON_FIELD_NUMBER: _ClassVar[int]
    event_json: str
    finished_json: str
    def __init__(self, event_json: _Optional[str] = ..., finished_json: _Optional[str] = ...) -> None: ...

class ResultRequest(_message.Message):
    __slots__ = ("tenant", "job")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class ResultResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: bytes
    def __init__(self, frame: _Optional[bytes] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("tenant", "job")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("cancelled", "finished_json")
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_JSON_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    finished_json: str
    def __init__(self, cancelled: _Optional[bool] = ..., finished_json: _Optional[str] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("chunk", "keep")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    keep: bool
    def __init__(self, chunk: _Optional[bytes] = ..., keep: _Optional[bool] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("blob",)
    BLOB_FIELD_NUMBER: _ClassVar[int]
    blob: Blob
    def __init__(self, blob: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("blob",)
    BLOB_FIELD_NUMBER: _ClassVar[int]
    blob: Blob
    def __init__(self, blob: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class DownloadResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("manifest_json", "route_json")
    MANIFEST_JSON_FIELD_NUMBER: _ClassVar[int]
    ROUTE_JSON_FIELD_NUMBER: _ClassVar[int]
    manifest_json: str
    route_json: str
    def __init__(self, manifest_json: _Optional[str] = ..., route_json: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("manifest_json",)
    MANIFEST_JSON_FIELD_NUMBER: _ClassVar[int]
    manifest_json: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, manifest_json: _Optional[_Iterable[str]] = ...) -> None: ...

class RemoveModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("status_json",)
    STATUS_JSON_FIELD_NUMBER: _ClassVar[int]
    status_json: str
    def __init__(self, status_json: _Optional[str] = ...) -> None: ...
