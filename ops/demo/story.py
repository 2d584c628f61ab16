"""What the demo says while it runs: headings and sentences on stderr, one table at the end."""

import time

from rich.console import Console
from rich.table import Table

from ops.demo.findings import Findings
from ops.demo.page import classes, milliseconds


class Story:
    """Speaks to a person; the machine-readable findings go elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def chapter(self, title: str) -> None:
        """Begin a part."""
        self._console.print(
            f"\n[bold cyan]{self.seconds:5.1f} s[/]  [bold]{title}[/]", soft_wrap=True
        )

    def tell(self, sentence: str) -> None:
        """Say what was found."""
        self._console.print(f"         {sentence}", highlight=False, soft_wrap=True)

    def table(self, findings: Findings) -> None:
        """Every variant with what it costs and where it runs."""
        names = classes(findings)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("variant", "bytes", "accuracy"):
            table.add_column(heading, justify="left" if heading == "variant" else "right")
        for name in names:
            table.add_column(f"{name}\np50 / p99", justify="right")
        for heading in ("gRPC p50", "placed on", "verdict"):
            table.add_column(heading)
        for row in findings.variants:
            times = [
                f"{milliseconds(row.p50.get(name))} / {milliseconds(row.p99.get(name))}"
                for name in names
            ]
            cells = [row.name, f"{row.bytes:,}", f"{row.accuracy:.2%}", *times]
            table.add_row(*cells, milliseconds(row.served_p50), row.placed_on, row.verdict)
        self._console.print(table)
        for row in findings.variants:
            self.tell(f"{row.name} runs on {row.placed_on}: {row.reason}")
