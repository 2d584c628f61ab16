"""Turns a function `(session, ...)` into a command that also takes the options of all commands."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ops.cli.session import DEFAULT_ADDRESS, Session

PANEL = "Every command"
Address = Annotated[
    str,
    typer.Option(
        help="gRPC address of the stack.", envvar="ELLESMERE_ADDRESS", rich_help_panel=PANEL
    ),
]
Tenant = Annotated[
    str,
    typer.Option(help="In whose name.", envvar="ELLESMERE_TENANT", rich_help_panel=PANEL),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=PANEL)
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=PANEL)
]
SHARED = {
    "address": (Address, DEFAULT_ADDRESS),
    "tenant": (Tenant, "default"),
    "json_": (Json, False),
    "debug": (Debug, False),
}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The same function as typer wants it: every option a parameter, the session made from four."""

    @functools.wraps(function)
    def call(**given: Any) -> None:
        shared = {name: given.pop(name) for name in SHARED}
        shared["as_json"] = shared.pop("json_")
        function(Session(**shared), **given)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    parameters = [_keyword(parameter) for parameter in own]
    for name, (kind, default) in SHARED.items():
        parameters.append(
            _keyword(inspect.Parameter(name, _KEYWORD, default=default, annotation=kind))
        )
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=_KEYWORD)
