"""Create or update what a topology names. Safe when several services start at once."""

from collections.abc import Mapping

from shared.bus.api import NOT_FOUND, Api, ApiRefused, Reply, StreamState
from shared.bus.topology import ConsumerPlan, StreamPlan, Topology
from shared.contracts.errors import BusUnavailable

NANO = 1_000_000_000
ATTEMPTS = 3


async def ensure(api: Api, topology: Topology) -> None:
    """Make all streams, buckets and fixed consumers.

    Raises:
        BusUnavailable: the server does not answer, or refuses a stream (no room on its disk, or
            one of that name exists in a form that cannot be changed).
    """
    for plan in topology.all_streams():
        await _stream(api, plan)
    for consumer in topology.consumers:
        await ensure_consumer(api, consumer)


async def ensure_consumer(api: Api, plan: ConsumerPlan) -> None:
    """Make or update one consumer.

    Raises:
        BusUnavailable: the server does not answer or refuses it.
    """
    verb = f"CONSUMER.CREATE.{plan.stream}.{plan.name}"
    if plan.filter != ">":
        verb += f".{plan.filter}"
    try:
        await api.call(verb, {"stream_name": plan.stream, "config": consumer_config(plan)}, Reply)
    except ApiRefused as error:
        raise BusUnavailable(f"consumer {plan.name} of {plan.stream}: {error}") from None


async def _stream(api: Api, plan: StreamPlan) -> None:
    """Look first: creating again what is there counts its bytes twice against the disk's limit."""
    config = stream_config(plan)
    refused: ApiRefused | None = None
    for _ in range(ATTEMPTS):
        try:
            current = await _config(api, plan.name)
            if current is None:
                await api.call(f"STREAM.CREATE.{plan.name}", config, Reply)
            elif not _same(current, config):
                await api.call(f"STREAM.UPDATE.{plan.name}", config, Reply)
            return
        except ApiRefused as error:
            refused = error  # another service may have made it meanwhile
    raise BusUnavailable(f"stream {plan.name}: {refused}")


async def _config(api: Api, name: str) -> Mapping[str, object] | None:
    """How a stream is configured now; None when there is none."""
    try:
        return (await api.call(f"STREAM.INFO.{name}", {}, StreamState)).config
    except ApiRefused as error:
        if error.refusal.code == NOT_FOUND:
            return None
        raise


def _same(current: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether nothing is to be changed; the server leaves out what is zero or false."""
    return all((current.get(name) or None) == (value or None) for name, value in wanted.items())


def stream_config(plan: StreamPlan) -> Mapping[str, object]:
    """The server's JSON for a stream."""
    config: dict[str, object] = {
        "name": plan.name,
        "subjects": list(plan.subjects),
        "retention": "workqueue" if plan.work_queue else "limits",
        "storage": "memory" if plan.memory else "file",
        "discard": "new" if plan.refuse_when_full else "old",
        "discard_new_per_subject": plan.refuse_subject_when_full,
        "max_bytes": plan.max_bytes,
        "max_msgs": plan.max_messages or -1,
        "max_msgs_per_subject": plan.max_per_subject or -1,
        "max_msg_size": plan.max_message or -1,
        "max_age": int((plan.max_age or 0) * NANO),
        "duplicate_window": int(plan.dedup * NANO),
        "num_replicas": 1,
        "allow_direct": True,
        "allow_msg_ttl": plan.message_ttl,
    }
    if plan.republish is not None:
        source, target = plan.republish
        config["republish"] = {"src": source, "dest": target}
    return config


def consumer_config(plan: ConsumerPlan) -> Mapping[str, object]:
    """The server's JSON for a consumer."""
    config: dict[str, object] = {
        "durable_name": plan.name,
        "name": plan.name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(plan.ack_wait * NANO),
        "max_deliver": plan.max_deliver or -1,
        "max_ack_pending": plan.max_ack_pending,
        "max_waiting": 256,
    }
    if plan.filter != ">":
        config["filter_subject"] = plan.filter
    return config
