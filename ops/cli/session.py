"""What every command shares: where the stack is, and how to speak. Data goes to stdout as one JSON
value or as text, everything else to stderr."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

DEFAULT_ADDRESS = "127.0.0.1:8001"
WIDE = 160  # columns when the output is not a terminal


@dataclass(frozen=True)
class Session:
    """The options that all commands take."""

    address: str = DEFAULT_ADDRESS
    tenant: str = "default"
    as_json: bool = False
    debug: bool = False

    @cached_property
    def out(self) -> "Console":
        """Stdout, for what was asked. NO_COLOR is honoured."""
        return _console(stderr=False)

    @cached_property
    def talk(self) -> "Console":
        """Stderr, for everything else."""
        return _console(stderr=True)

    def show(self, value: Mapping[str, object], render: "Callable[[], RenderableType]") -> None:
        """Print the result: `value` as one line of JSON with --json, else what `render` makes."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")
            sys.stdout.flush()
        else:
            self.out.print(render())

    def say(self, text: str) -> None:
        """One sentence to the person."""
        self.talk.print(text, soft_wrap=True)


def columns(*headings: str) -> "Table":
    """An empty table in the one style of all commands; the first column names its row."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        shown.add_column(heading, overflow="fold", no_wrap=number == 0)
    return shown


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
