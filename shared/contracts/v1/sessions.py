"""Sessions: streams through a network whose neurons stay as they are between two calls."""

from typing import Literal

from pydantic import Field

from shared.contracts.message import Message, Value
from shared.contracts.v1.jobs import BlobRef, ModelName, Token

MAX_TTL = 12 * 3600.0  # [s]; a snapshot is stored for twice as long


class Learning(Value):
    """A layer learns from what the session is shown, by pair STDP; time constants in steps."""

    layer: str = Field(min_length=1, max_length=256)
    a_plus: float = 0.01  # weight gained by a pair without delay
    a_minus: float = 0.0  # weight lost
    tau_plus: float = Field(default=20.0, gt=0.0)
    tau_minus: float = Field(default=20.0, gt=0.0)
    w_min: float | None = None  # None: the least of the weights, or 0
    w_max: float | None = None  # None: the largest of the weights
    offset: float = 0.0  # trace below which a spike of the neuron weakens
    nearest: bool = False  # only nearest pairs count
    theta_plus: float = 0.0  # what a spike adds to the neuron's own threshold
    tau_theta: float | None = Field(default=None, gt=0.0)  # None: it never falls back
    inhibition: float = Field(default=0.0, ge=0.0)  # what a spike takes from all others
    alone: bool = False  # at most one neuron fires in a step


class SessionStart(Value):
    """Begin a session; one of the same name ends."""

    model: ModelName
    variant: ModelName | None = None  # None: the default one
    ttl: float = Field(default=300.0, gt=0.0, le=MAX_TTL)  # without a call it ends [s]
    learning: Learning | None = None


class SessionCall(Message):
    """One step of a stream: tensors by input name ride along, (rows, steps, neurons) or as events.

    Events of an input `x` are a tensor `x.events` (events, 3) i32 or i64: row, step of the session,
    neuron, ordered by step; the call covers the `steps` from where the session is. Spikes that do
    not come are silence. A call with neither tensors nor `steps` only starts, restores, snapshots
    or ends.
    """

    type: Literal["sessions.call.v1"] = "sessions.call.v1"
    start: SessionStart | None = None
    at: int | None = Field(default=None, ge=0)  # steps done before it; refused if that is not so
    steps: int | None = Field(default=None, ge=1)  # needed where tensors do not tell
    rows: int = Field(default=1, ge=1, le=16_384)  # of events, where the session begins with them
    restore: bool = False  # first go back to the last snapshot
    snapshot: bool = False  # afterwards store a snapshot before the answer
    end: bool = False  # afterwards end the session
    kept: bool = False  # the answer also holds what goes into the next call: potentials, weights
    events: bool = False  # spikes come back as events, `train.events` (events, 3) i32
    budget: float = Field(default=30.0, gt=0.0)  # [s] until nobody waits for the answer


class SessionWork(Message):
    """What a gateway asks of a worker; the tensors of the call ride along."""

    type: Literal["sessions.work.v1"] = "sessions.work.v1"
    tenant: Token
    session: Token
    call: SessionCall
    variant: ModelName | None = None  # of a start
    artifact: BlobRef | None = None  # of a start
    take: bool = False  # whoever held the session is gone


class SessionAnswer(Message):
    """How a call ended; the outputs ride along. `code` is empty on success."""

    type: Literal["sessions.answer.v1"] = "sessions.answer.v1"
    code: str = ""  # of the error catalogue
    message: str = ""
    model: str = ""
    variant: str = ""
    worker: str = ""
    steps: int = 0  # of the session that are done
    snapshot: int = 0  # steps that a restore goes back to
    restored: bool = False  # the session was taken up from its snapshot for this call
    seconds: float = 0.0  # of computing


class SessionCard(Message):
    """Where a session is; kept in `el_sessions` as `<tenant>.<session>` until it ends."""

    type: Literal["sessions.card.v1"] = "sessions.card.v1"
    worker: Token
    model: ModelName
    variant: ModelName
    artifact: BlobRef
    ttl: float  # [s]
    learning: Learning | None = None
    rows: int = 0  # 0: no step was done yet
    steps: int = 0  # done in the snapshot
    snapshot: BlobRef | None = None  # None: it begins anew
