"""`ellesmere doctor`: what this machine has, what is missing, and how to mend it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.failures import UNAVAILABLE
from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ops.cli.checks.finding import Finding
    from ops.cli.checks.opencl import Answer, NoAnswer
    from shared.contracts.errors import SuiteError
    from shared.contracts.v1.workers import WorkerCard

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
Data = Annotated[Path, typer.Option(help="Folder whose disk is tried.")]
NatsUrl = Annotated[str, typer.Option(help="Broker to look for.", envvar="ELLESMERE_NATS_URL")]


def doctor(
    session: Session,
    data: Data = Path(".ellesmere"),
    nats_url: NatsUrl = "nats://127.0.0.1:4222",
) -> None:
    """Check Python, packages, disk, ports, broker, OpenCL and the stack; says how to mend each.

    Of the device it tells the limits, and of every kernel whether it builds, gives a known answer,
    and is launched with start values or tuned ones.

    Exit code 0 also with warnings: the suite then runs with less. 3 when it cannot run.
    """
    from ops.cli.checks import opencl
    from ops.cli.checks.finding import Verdict

    with session.talk.status("checking; the kernels of a new driver take a while"):
        answer = _probe()
        findings = list(_checks(session, data, nats_url, answer))
    kernels = opencl.kernels(answer)
    value = {
        "ok": all(finding.verdict is not Verdict.FAIL for finding in findings),
        "checks": [_value(finding) for finding in findings],
        "device": None if isinstance(answer, opencl.NoAnswer) else answer.get("device"),
        "kernels": [{**kernel, "state": opencl.state(kernel)} for kernel in kernels],
    }
    session.show(value, lambda: _screen(findings, kernels))
    if not value["ok"]:
        raise typer.Exit(UNAVAILABLE)


def _probe() -> "Answer | NoAnswer":
    from ops.cli.checks import opencl

    try:
        return opencl.ask()
    except opencl.NoAnswer as error:
        return error


def _checks(
    session: Session, data: Path, nats_url: str, answer: "Answer | NoAnswer"
) -> "Iterator[Finding]":
    from ops.cli.checks import broker, machine, opencl, suite
    from ops.stack.ports import Ports

    yield machine.python()
    yield machine.packages()
    yield suite.operators()
    yield machine.disk(data)
    yield broker.installed()
    yield from opencl.devices(answer)
    yield broker.answering(nats_url)
    yield from suite.stack(session.address, _workers(session))
    yield from machine.addresses(Ports())


def _workers(session: Session) -> "list[WorkerCard] | SuiteError":
    """Live workers as the gateway sees them, or why it does not say."""
    from ops.cli import remote
    from shared.contracts.errors import SuiteError

    try:
        state = remote.call(session, lambda client: client.status(), seconds=3.0)
    except SuiteError as error:
        return error
    return [worker.card for worker in state.workers]


def _value(finding: "Finding") -> dict[str, str]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "seen": finding.seen,
        "fix": finding.fix,
    }


def _screen(findings: "list[Finding]", kernels: "list[dict[str, object]]") -> "RenderableType":
    from rich.console import Group

    shown = _table(findings)
    return Group(shown, "", _kernels(kernels)) if kernels else shown


def _kernels(kernels: "list[dict[str, object]]") -> "Table":
    """One line each, and below those that are not right the reason."""
    from rich.text import Text

    from ops.cli.checks import opencl

    colors = {"ok": "green", "wrong": "red", "refused": "yellow"}
    shown = columns("kernel", "state", "built", "known answer", "values")
    for kernel in kernels:
        state = opencl.state(kernel)
        said = Text(opencl.values(kernel))
        if kernel["reason"]:
            said.append(f"\n{kernel['reason']}", style="dim")
        built = "yes" if kernel["built"] else "no"
        answer = "right" if kernel["right"] else "wrong" if kernel["built"] else ""
        row = (str(kernel["name"]), Text(state, colors[state]), built, answer, said)
        shown.add_row(*row)
    return shown


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
