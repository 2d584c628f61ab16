"""Errors as a person reads them, and the exit code of each."""

import asyncio
import sys
import traceback

import typer

from shared.contracts.errors import (
    BusUnavailable,
    DeadlineExceeded,
    InvalidFile,
    InvalidUsage,
    Kind,
    SuiteError,
)

FAILED, USAGE, UNAVAILABLE, DENIED, DEADLINE, INTERRUPTED = 1, 2, 3, 4, 5, 130
EXIT_CODES = {
    Kind.INVALID: USAGE,
    Kind.NOT_FOUND: USAGE,
    Kind.CONFLICT: USAGE,
    Kind.UNSUPPORTED: USAGE,
    Kind.DENIED: DENIED,
    Kind.EXHAUSTED: UNAVAILABLE,
    Kind.UNAVAILABLE: UNAVAILABLE,
    Kind.DEADLINE: DEADLINE,
    Kind.CANCELLED: FAILED,
    Kind.INTERNAL: FAILED,
    Kind.DATA_LOSS: FAILED,
}


class InvalidPath(InvalidFile):
    """A file that cannot be opened."""

    fix = "check the path and who may use it"


class InvalidBody(InvalidFile):
    """A file that holds no body of a job."""

    fix = """write the body as JSON, such as {"kind": "operator", "operator": "relu"}"""


class InvalidRecipe(InvalidFile):
    """A file that holds no recipe."""

    fix = """write the recipe as JSON, such as {"stages": [{"stage": "prune", "sparsity": 0.9}]}"""


class InvalidEvents(InvalidFile):
    """A file that holds no spikes as lines."""

    fix = "write a line `step,neuron` of two whole numbers for every spike"


class Unexpected(SuiteError):
    """A fault in this program."""

    fix = "run the command again with --debug and report what it shows"


def report(error: BaseException, *, debug: bool) -> int:
    """Write the error and its fix to stderr; returns the exit code."""
    cause = leaf(error)
    if isinstance(cause, KeyboardInterrupt | asyncio.CancelledError):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    if isinstance(cause, SystemExit):  # the reader of our output left, as `head` does
        return cause.code if isinstance(cause.code, int) else FAILED
    if isinstance(cause, typer.TyperException) and not cause.format_message():
        return USAGE  # help was printed instead
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    known = as_suite_error(cause)
    sys.stderr.write(f"error: [{known.code}] {known}\nhint:  {known.fix}\n")
    return EXIT_CODES[known.kind]


def leaf(error: BaseException) -> BaseException:
    """The first error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def as_suite_error(error: BaseException) -> SuiteError:
    """Give a place in the catalogue to errors that come from below."""
    if isinstance(error, SuiteError):
        return error
    if isinstance(error, typer.TyperException):
        return InvalidUsage(error.format_message().replace("Value error, ", "").rstrip("."))
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(str(error) or "the stack did not answer in time")
    if isinstance(error, ConnectionError):
        return BusUnavailable(str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return InvalidPath(f"{where}{error.strerror or error}")
    return Unexpected(f"{type(error).__name__}: {error}")
