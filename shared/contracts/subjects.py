"""Every subject, stream and bucket name. No other module spells one."""

import re
from enum import StrEnum

PREFIX = "el.v1"
NAME = re.compile(
    r"[a-z0-9][a-z0-9._-]{0,63}"
)  # models and variants; dots are never subject tokens
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # tenants, jobs, classes, workers


class Stream(StrEnum):
    """JetStream streams; ops/nats and shared/bus/topology hold their limits."""

    JOBS = "EL_JOBS"
    RUN = "EL_RUN"
    RESULTS = "EL_RES"
    BLOBS = "EL_BLOB"
    DEAD = "EL_DLQ"
    ADVISORIES = "EL_ADV"
    AUDIT = "EL_AUDIT"


class Bucket(StrEnum):
    """Key-value buckets."""

    WORKERS = "el_workers"  # <worker> -> WorkerCard, lives 3 s
    # model.<name> -> Route; device.<class> -> DeviceProfile; layouts.<class> -> LayoutTrials;
    # tuned.<key> -> launch settings of a device, read by its workers alone
    ROUTES = "el_routes"
    MODELS = "el_models"  # <model> -> ModelManifest
    CONTROL = "el_ctl"  # cancel.<job>
    LEADER = "el_leader"  # sched
    SESSIONS = "el_sessions"  # <tenant>.<session> -> SessionCard, as long as its time to live


def token(text: str) -> str:
    """Return `text` when it may be one token of a subject.

    Raises:
        ValueError: it is empty, longer than 64, or holds a character outside A-Z a-z 0-9 _ -.
    """
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{text[:80]!r} must match {TOKEN.pattern}")
    return text


def job(tenant: str, kind: str) -> str:
    """Where a durable job is published."""
    return f"{PREFIX}.job.{token(tenant)}.{token(kind)}"


def run(worker_class: str, kind: str) -> str:
    """Where the scheduler puts placed work."""
    return f"{PREFIX}.run.{token(worker_class)}.{token(kind)}"


def runs_of(worker_class: str) -> str:
    """Filter for all placed work of a class."""
    return f"{PREFIX}.run.{token(worker_class)}.>"


def result(tenant: str, job_id: str) -> str:
    """The write-once record of how a job ended."""
    return f"{PREFIX}.res.{token(tenant)}.{token(job_id)}"


def done(tenant: str, job_id: str) -> str:
    """Announcement that the record of a job is stored (republished by the stream)."""
    return f"{PREFIX}.done.{token(tenant)}.{token(job_id)}"


def event(tenant: str, job_id: str, what: str) -> str:
    """Progress of a job; may be lost."""
    return f"{PREFIX}.evt.{token(tenant)}.{token(job_id)}.{token(what)}"


def events_of(tenant: str, job_id: str) -> str:
    """Filter for all progress of a job."""
    return f"{PREFIX}.evt.{token(tenant)}.{token(job_id)}.*"


def audit(tenant: str, job_id: str, what: str) -> str:
    """One stored event per change of a job's state: accepted, placed, started, ended."""
    return f"{PREFIX}.audit.{token(tenant)}.{token(job_id)}.{token(what)}"


def audits_of(tenant: str, job_id: str) -> str:
    """Filter for every stored event of a job."""
    return f"{PREFIX}.audit.{token(tenant)}.{token(job_id)}.*"


def worker_audit(worker: str, what: str) -> str:
    """One stored event per change of a worker's device; no tenant's name begins like this."""
    return f"{PREFIX}.audit._worker.{token(worker)}.{token(what)}"


def cancel(job_id: str) -> str:
    """Broadcast that a job was cancelled."""
    return f"{PREFIX}.ctl.cancel.{token(job_id)}"


def interactive(worker_class: str) -> str:
    """Interactive lane of a class; its workers share a queue group."""
    return f"{PREFIX}.rt.{token(worker_class)}.infer"


def interactive_worker(worker: str) -> str:
    """Interactive lane of one worker, whose weights are warm."""
    return f"{PREFIX}.rtw.{token(worker)}.infer"


def session(tenant: str, name: str) -> str:
    """Where a client sends the steps of a session; a gateway answers."""
    return f"{PREFIX}.ses.{token(tenant)}.{token(name)}"


def sessions_of_worker(worker: str) -> str:
    """Where gateways send the steps of sessions that a worker holds."""
    return f"{PREFIX}.rtw.{token(worker)}.session"


def heartbeat(worker: str) -> str:
    """Twice a second: free slots, queue, running jobs."""
    return f"{PREFIX}.hb.{token(worker)}"


def dead(stream: str, reason: str) -> str:
    """Dead letters."""
    return f"{PREFIX}.dlq.{token(stream)}.{token(reason)}"


def blob(sha256: str, part: int) -> str:
    """One part of a content-addressed blob."""
    return f"{PREFIX}.blob.{token(sha256)}.{part}"


def changes(bucket: Bucket) -> str:
    """Announcements of what was stored in a bucket (republished): this prefix, then the key."""
    return f"{PREFIX}.kv.{bucket}.>"


ALL_JOBS = f"{PREFIX}.job.*.*"  # what has no tenant and kind is refused where it is published
ALL_RUNS = f"{PREFIX}.run.>"
ALL_RESULTS = f"{PREFIX}.res.>"
ALL_DONE = f"{PREFIX}.done.>"
ALL_STARTED = f"{PREFIX}.evt.*.*.started"
ALL_RETURNED = f"{PREFIX}.evt.*.*.returned"
ALL_SESSIONS = f"{PREFIX}.ses.*.*"
ALL_HEARTBEATS = f"{PREFIX}.hb.*"
ALL_CANCELS = f"{PREFIX}.ctl.cancel.*"
ALL_DEAD = f"{PREFIX}.dlq.>"
ALL_BLOBS = f"{PREFIX}.blob.>"
ALL_AUDIT = f"{PREFIX}.audit.>"
