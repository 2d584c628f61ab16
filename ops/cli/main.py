"""The command `ellesmere`: its table of commands, and how a run ends."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from ops.cli import (
    bench,
    compress,
    demo,
    doctor,
    export,
    failures,
    infer,
    jobs,
    models,
    parity,
    profile,
    status,
    stream,
    submit,
    train,
    tune,
    up,
)
from ops.cli.command import command

ABOUT = "Compress trained networks and serve them on an old graphics card and on any CPU."
Commands = Mapping[str, Callable[..., None]]
COMMANDS: Commands = {
    "up": up.up,
    "demo": demo.demo,
    "doctor": doctor.doctor,
    "status": status.status,
    "infer": infer.infer,
    "stream": stream.stream,
    "submit": submit.submit,
    "compress": compress.compress,
    "train": train.train,
    "profile": profile.profile,
    "bench": bench.bench,
    "tune": tune.tune,
}
GROUPS: Mapping[str, tuple[str, Commands]] = {
    "model": (
        "Add, list, show, export, compare, remove, load and unload models.",
        {
            "add": models.add,
            "list": models.list_models,
            "show": models.show,
            "export": export.export,
            "parity": parity.parity,
            "remove": models.remove,
            "load": models.load,
            "unload": models.unload,
        },
    ),
    "job": (
        "Show, watch and cancel durable jobs, and fetch their results.",
        {"show": jobs.show, "watch": jobs.watch, "cancel": jobs.cancel, "result": jobs.result},
    ),
}
HELP = {"help_option_names": ["-h", "--help"]}


def _show_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        typer.echo(f"ellesmere {version('ellesmere')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]


def build() -> typer.Typer:
    """The application with every command of the tables."""
    app = typer.Typer(
        help=ABOUT, no_args_is_help=True, pretty_exceptions_enable=False, context_settings=HELP
    )
    app.callback()(_options)
    for name, function in COMMANDS.items():
        app.command(name)(command(function))
    for name, (about, functions) in GROUPS.items():
        group = typer.Typer(help=about, no_args_is_help=True, context_settings=HELP)
        for word, function in functions.items():
            group.command(word)(command(function))
        app.add_typer(group, name=name)
    return app


def _options(version: Version = False) -> None:
    """Options of the command itself; the text of its help is `ABOUT`."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every error is reported in one shape. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = build()(given, prog_name="ellesmere", standalone_mode=False)
    except BaseException as error:
        return failures.report(error, debug="--debug" in given)
    if code == failures.INTERRUPTED:  # typer has caught Ctrl-C already
        return failures.report(KeyboardInterrupt(), debug=False)
    return code if isinstance(code, int) else 0
