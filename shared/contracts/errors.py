"""The error catalogue: every situation has one class, one stable code, and says whether to retry.

Transport codes (gRPC status, exit codes) are chosen from `kind` by the gateway and the CLI.
"""

from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What sort of trouble, in terms that every transport can map."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    DENIED = "denied"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"
    DATA_LOSS = "data_loss"


class SuiteError(Exception):
    """The root. Subclasses set code, kind, retryable and fix; the message holds the values."""

    code: ClassVar[str] = "EL-1000"
    kind: ClassVar[Kind] = Kind.INTERNAL
    retryable: ClassVar[bool] = False
    fix: ClassVar[str] = "look at the service's log for the event of this time"

    def __str__(self) -> str:
        return super().__str__() or type(self).__name__


class InvalidUsage(SuiteError):
    """A command was called with an option or an argument that it does not take."""

    code, kind = "EL-1100", Kind.INVALID
    fix = "add --help to the command to see what it takes"


class InvalidMessage(SuiteError):
    """A message does not parse, or a field is missing or out of its range."""

    code, kind = "EL-1101", Kind.INVALID
    fix = "compare the message with the contract named by its type"


class InvalidTensor(SuiteError):
    """A tensor's name, datatype, shape or byte count does not fit."""

    code, kind = "EL-1102", Kind.INVALID
    fix = "ask ModelMetadata, or the operator's ports, for names, datatypes and shapes"


class InvalidName(SuiteError):
    """A model, job, tenant or class name holds a character that no name may hold."""

    code, kind = "EL-1103", Kind.INVALID
    fix = "models match [a-z0-9][a-z0-9._-]{0,63}; jobs and tenants [A-Za-z0-9][A-Za-z0-9_-]{0,63}"


class InvalidNetwork(SuiteError):
    """A network file is truncated, cyclic, too large, or refers to files outside itself."""

    code, kind = "EL-1104", Kind.INVALID
    fix = "check the file with its exporter; weights must be inside the file"


class UnsupportedOperator(SuiteError):
    """A network needs operators that the catalogue does not have; the message names each."""

    code, kind = "EL-1105", Kind.UNSUPPORTED
    fix = "export with the listed operators replaced; `ellesmere doctor` lists what is supported"


class UnsupportedDatatype(SuiteError):
    """A datatype of the protocol that no network here takes."""

    code, kind = "EL-1106", Kind.UNSUPPORTED
    fix = "send numbers; BYTES tensors are not served"


class NonFiniteInput(SuiteError):
    """An input holds NaN or infinity and the model's policy refuses them."""

    code, kind = "EL-1107", Kind.INVALID
    fix = "clean the input, or import the model with nan_policy=pass"


class TooLarge(SuiteError):
    """A message or a tensor is over its limit."""

    code, kind = "EL-1108", Kind.EXHAUSTED
    fix = "split the batch, or send the tensor as a blob on the durable lane"


class InvalidFile(SuiteError):
    """A file given on the command line cannot be read as what it should be."""

    code, kind = "EL-1109", Kind.INVALID
    fix = "save arrays with numpy.save or numpy.savez, as numbers and not as objects"


class TrainingDiverged(SuiteError):
    """The loss of a training run is not a finite number any more; the message says where."""

    code, kind = "EL-1110", Kind.INVALID
    fix = "choose a smaller rate, or look for outliers in the rows"


class UnknownModel(SuiteError):
    """No model, or no variant of it, has this name."""

    code, kind = "EL-1201", Kind.NOT_FOUND
    fix = "`ellesmere model list` shows what is there"


class ModelNotReady(SuiteError):
    """The model exists, but no worker has it loaded."""

    code, kind, retryable = "EL-1202", Kind.UNAVAILABLE, True
    fix = "load it with RepositoryModelLoad, or wait until a worker reports it"


class UnknownJob(SuiteError):
    """No job with this id is known."""

    code, kind = "EL-1203", Kind.NOT_FOUND
    fix = "check id and tenant; results are kept for 72 h"


class JobIdReused(SuiteError):
    """The same job id came with another body; the first one stands."""

    code, kind = "EL-1204", Kind.CONFLICT
    fix = "choose a new id for new work; repeat an id only with the same bytes"


class JobCancelled(SuiteError):
    """The job was cancelled before it finished."""

    code, kind = "EL-1205", Kind.CANCELLED
    fix = "submit it again under a new id"


class DeadlineExceeded(SuiteError):
    """The deadline passed before the work was done."""

    code, kind = "EL-1206", Kind.DEADLINE
    fix = "allow more time, or lower the load"


class QueueFull(SuiteError):
    """The queue has no room now; waiting helps, sending faster does not."""

    code, kind, retryable = "EL-1207", Kind.EXHAUSTED, True
    fix = "retry after the queue drains"


class NoWorker(SuiteError):
    """No live worker can run this."""

    code, kind, retryable = "EL-1208", Kind.UNAVAILABLE, True
    fix = "`ellesmere status` shows the workers; add one or wait for it to come back"


class BusUnavailable(SuiteError):
    """NATS did not answer in time."""

    code, kind, retryable = "EL-1209", Kind.UNAVAILABLE, True
    fix = "`ellesmere doctor` checks the broker"


class AddressTaken(SuiteError):
    """Another process listens on the address."""

    code, kind = "EL-1210", Kind.UNAVAILABLE
    fix = "stop the other process, or let `ellesmere up --ports auto` choose free ports"


class FolderInUse(SuiteError):
    """Another stack keeps its data in this folder."""

    code, kind = "EL-1211", Kind.UNAVAILABLE
    fix = "stop the other stack, or choose another folder with --data"


class StackNotReady(SuiteError):
    """A process of the local stack did not come up."""

    code, kind, retryable = "EL-1212", Kind.UNAVAILABLE, True
    fix = "read what it logged on stderr; `ellesmere doctor` checks what it needs"


class UnknownSession(SuiteError):
    """No session of this name lives: it never began, ended, or nobody called it for too long."""

    code, kind = "EL-1214", Kind.NOT_FOUND
    fix = (
        "begin it with sequence_start (`ellesmere stream` without --resume); sessions belong to "
        "the tenant that began them"
    )


class SessionElsewhere(SuiteError):
    """Another worker holds the session."""

    code, kind, retryable = "EL-1215", Kind.UNAVAILABLE, True
    fix = "send it again: the gateway looks up where the session is"


class SessionOutOfStep(SuiteError):
    """The session is not at the step where the call begins; the message says where it is."""

    code, kind = "EL-1216", Kind.CONFLICT
    fix = "go on from the step that the message names; after a restore send what followed again"


class JobFailed(SuiteError):
    """The work raised on every attempt; the message holds the last error."""

    code = "EL-1301"
    fix = "`ellesmere job show` lists the attempts; the dead letter keeps the job"


class DeviceFailed(SuiteError):
    """The device refused or broke: compile failure, out of memory, limit exceeded."""

    code, retryable = "EL-1302", True
    fix = "`ellesmere doctor` runs the device's checks"


class BlobMissing(SuiteError):
    """A blob that a message refers to is not stored, or its bytes do not match its digest."""

    code, kind = "EL-1303", Kind.DATA_LOSS
    fix = "store the blob again before the job"


class DeviceLost(SuiteError):
    """The device's process ended with the work in it, or the device is not trusted for now."""

    code, kind, retryable = "EL-1304", Kind.UNAVAILABLE, True
    fix = "send it again: another worker takes it; `ellesmere status` shows what ails this one"


class DeviceBusy(SuiteError):
    """Another process has the device or its cache to itself for now."""

    code, kind, retryable = "EL-1305", Kind.UNAVAILABLE, True
    fix = "wait until it ends"


class ModelExists(SuiteError):
    """The model name belongs to another network; the first one stands."""

    code, kind = "EL-1213", Kind.CONFLICT
    fix = "remove the model first, or import under another name"


def catalogue() -> dict[str, type[SuiteError]]:
    """Code to class, for everything above."""
    return {cls.code: cls for cls in SuiteError.__subclasses__()}
