"""The command `ellesmere`: its table of commands, and how a run ends."""

import sys
from collections.abc import Sequence

import typer

from ops.cli import failures, up
from ops.cli.command import command

app = typer.Typer(
    name="ellesmere",
    help="Compress trained networks and serve them on an old graphics card and any CPU.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(command(up.up))


@app.callback()
def root() -> None:
    """Compress trained networks and serve them on an old graphics card and any CPU."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every error is reported in one shape. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app(given, prog_name="ellesmere", standalone_mode=False)
    except BaseException as error:
        return failures.report(error, debug="--debug" in given)
    return code if isinstance(code, int) else 0
