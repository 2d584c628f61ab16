"""Streams, consumers and buckets as data; both implementations of the port obey it.

Sized for one machine with 10 GB free. Source of retention and limits: the promises of the port.
"""

from dataclasses import dataclass, field, replace

from shared.contracts import subjects
from shared.contracts.subjects import Bucket, Stream

KB, MB, GB = 2**10, 2**20, 2**30  # [bytes]
HOUR, DAY = 3600.0, 86400.0  # [s]
DEDUP_SECONDS = 120.0
SCHEDULER, DEAD_LETTERS = "sched", "dlq"  # consumers of EL_JOBS and EL_ADV
MAX_DELIVER = 4


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream. None: no limit."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    work_queue: bool = False  # a message leaves when it is acknowledged
    memory: bool = False  # does not survive the server
    max_messages: int | None = None
    max_per_subject: int | None = None
    max_message: int | None = None  # [bytes]
    max_age: float | None = None  # [s]
    dedup: float = DEDUP_SECONDS  # a message id is remembered so long [s]
    refuse_when_full: bool = True  # else the oldest message makes room
    refuse_subject_when_full: bool = False  # else the subject's oldest message makes room
    message_ttl: bool = False  # the header Nats-TTL is obeyed
    republish: tuple[str, str] | None = None  # what is stored is announced: from, to


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """One durable pull consumer with explicit acknowledgement."""

    stream: str
    name: str
    filter: str
    ack_wait: float  # [s]
    max_deliver: int | None  # None: for ever
    max_ack_pending: int


def _bucket(bucket: Bucket, **options: object) -> StreamPlan:
    source = f"$KV.{bucket}.>"
    plan = StreamPlan(
        name=f"KV_{bucket}",
        subjects=(source,),
        max_bytes=64 * MB,
        max_per_subject=1,
        max_message=1 * MB,
        # A core subscription to the bucket would also show puts that were refused.
        republish=(source, subjects.changes(bucket)),
    )
    return replace(plan, **options)  # type: ignore[arg-type]  # the fields of StreamPlan


_ADVISORIES = tuple(
    f"$JS.EVENT.ADVISORY.CONSUMER.{what}.{stream}.*"
    for what in ("MAX_DELIVERIES", "MSG_TERMINATED")
    for stream in (Stream.JOBS, Stream.RUN)
)

STREAMS = (
    StreamPlan(
        Stream.JOBS,
        (subjects.ALL_JOBS,),
        512 * MB,
        work_queue=True,
        max_messages=20_000,
        max_per_subject=2_000,  # the queue of one tenant and kind
        max_message=512 * KB,
        dedup=600.0,
        refuse_subject_when_full=True,
        message_ttl=True,
    ),
    StreamPlan(
        Stream.RUN,
        (subjects.ALL_RUNS,),
        512 * MB,
        work_queue=True,
        max_messages=4_000,
        max_message=512 * KB,
        dedup=600.0,
    ),
    StreamPlan(
        Stream.RESULTS,
        (subjects.ALL_RESULTS,),
        1 * GB,
        max_per_subject=1,
        max_message=512 * KB,
        max_age=72 * HOUR,
        refuse_subject_when_full=True,  # write once
        republish=(subjects.ALL_RESULTS, subjects.ALL_DONE),
    ),
    # A part stored again takes the place of the old one, with a new time to live and no moment
    # without it; its subject names its content, and readers check the digest.
    StreamPlan(Stream.BLOBS, (subjects.ALL_BLOBS,), 4 * GB, max_per_subject=1, message_ttl=True),
    StreamPlan(
        Stream.DEAD, (subjects.ALL_DEAD,), 256 * MB, max_age=30 * DAY, refuse_when_full=False
    ),
    StreamPlan(Stream.ADVISORIES, _ADVISORIES, 64 * MB, max_age=7 * DAY, refuse_when_full=False),
    StreamPlan(
        Stream.AUDIT, (subjects.ALL_AUDIT,), 256 * MB, max_age=30 * DAY, refuse_when_full=False
    ),
)

BUCKETS = {
    Bucket.WORKERS: _bucket(Bucket.WORKERS, memory=True, max_age=3.0, dedup=3.0, max_bytes=16 * MB),
    Bucket.ROUTES: _bucket(Bucket.ROUTES),
    Bucket.MODELS: _bucket(Bucket.MODELS),
    Bucket.CONTROL: _bucket(Bucket.CONTROL, max_age=HOUR, max_bytes=16 * MB),
    Bucket.LEADER: _bucket(Bucket.LEADER, memory=True, message_ttl=True, max_bytes=1 * MB),
    Bucket.SESSIONS: _bucket(Bucket.SESSIONS, message_ttl=True),
}

CONSUMERS = (
    # A mistake in the scheduler must not kill jobs, so it may fail for ever. It bounds itself what
    # it holds; jobs given back for a while count as pending, and must not hide those behind them.
    ConsumerPlan(Stream.JOBS, SCHEDULER, subjects.ALL_JOBS, 5.0, None, 20_000),
    ConsumerPlan(Stream.ADVISORIES, DEAD_LETTERS, ">", 30.0, None, 256),
)


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything the broker holds. Tests shrink limits and times; services take it as it is."""

    streams: tuple[StreamPlan, ...] = STREAMS
    buckets: dict[Bucket, StreamPlan] = field(default_factory=lambda: dict(BUCKETS))
    consumers: tuple[ConsumerPlan, ...] = CONSUMERS
    run_ack_wait: float = 10.0  # [s]

    def all_streams(self) -> tuple[StreamPlan, ...]:
        """The streams, those of buckets included."""
        return (*self.streams, *self.buckets.values())

    def of_class(self, worker_class: str, workers: int) -> ConsumerPlan:
        """The EL_RUN consumer of a class; two batches of 32 may be in hand per worker."""
        return ConsumerPlan(
            Stream.RUN,
            worker_class,
            subjects.runs_of(worker_class),
            self.run_ack_wait,
            MAX_DELIVER,
            64 * max(workers, 4),
        )

    def with_stream(self, stream: Stream, **options: object) -> "Topology":
        """A copy with other options for one stream."""
        changed = tuple(
            replace(plan, **options) if plan.name == stream else plan  # type: ignore[arg-type]
            for plan in self.streams
        )
        return replace(self, streams=changed)


TOPOLOGY = Topology()
