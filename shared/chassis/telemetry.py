"""Logs on stderr: pretty on a terminal, one JSON object per line otherwise.

An event is `noun.verb`; values are fields. `service` and `worker` are on every line.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(service: str, *, worker: str = "", level: str = "info") -> None:
    """Set up structlog for the process; called once, before the first line is logged."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _identity(service, worker),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderer(pretty=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _identity(service: str, worker: str) -> Processor:
    """Who speaks: added by the process, so that no caller has to."""

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        if worker:
            event.setdefault("worker", worker)
        return event

    return add


def _renderer(*, pretty: bool) -> list[Processor]:
    """Tracebacks come without local variables: those hold what callers sent."""
    if pretty:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(transform),
        structlog.processors.JSONRenderer(),
    ]
