"""`ellesmere doctor`: what this machine has, what is missing, and how to mend it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.failures import UNAVAILABLE
from ops.cli.session import Session

if TYPE_CHECKING:
    from rich.table import Table

    from ops.cli.checks.finding import Finding
    from shared.contracts.errors import SuiteError

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
Data = Annotated[Path, typer.Option(help="Folder whose disk is tried.")]
NatsUrl = Annotated[str, typer.Option(help="Broker to look for.", envvar="ELLESMERE_NATS_URL")]


def doctor(
    session: Session,
    data: Data = Path(".ellesmere"),
    nats_url: NatsUrl = "nats://127.0.0.1:4222",
) -> None:
    """Check Python, packages, disk, ports, broker, OpenCL and the stack; says how to mend each.

    Exit code 0 also with warnings: the suite then runs with less. 3 when it cannot run.
    """
    from ops.cli.checks.finding import Verdict

    with session.talk.status("checking"):
        findings = list(_checks(session, data, nats_url))
    value = {
        "ok": all(finding.verdict is not Verdict.FAIL for finding in findings),
        "checks": [_value(finding) for finding in findings],
    }
    session.show(value, lambda: _table(findings))
    if not value["ok"]:
        raise typer.Exit(UNAVAILABLE)


def _checks(session: Session, data: Path, nats_url: str) -> "Iterator[Finding]":
    from ops.cli.checks import broker, machine, opencl, suite
    from ops.stack.ports import Ports

    yield machine.python()
    yield machine.packages()
    yield suite.operators()
    yield machine.disk(data)
    yield broker.installed()
    yield from opencl.devices()
    yield broker.answering(nats_url)
    yield suite.stack(session.address, _workers(session))
    yield from machine.addresses(Ports())


def _workers(session: Session) -> "dict[str, int] | SuiteError":
    """Live workers per class as the gateway sees them, or why it does not say."""
    from ops.cli import remote
    from shared.contracts.errors import SuiteError

    try:
        state = remote.call(session, lambda client: client.status(), seconds=3.0)
    except SuiteError as error:
        return error
    classes = [worker.card.worker_class for worker in state.workers]
    return {name: classes.count(name) for name in classes}


def _value(finding: "Finding") -> dict[str, str]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "seen": finding.seen,
        "fix": finding.fix,
    }


def _table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        seen = Text(finding.seen)
        if finding.fix:
            seen.append(f"\nfix: {finding.fix}", style="dim")
        table.add_row(Text(finding.verdict, COLORS[finding.verdict]), finding.check, seen)
    return table
