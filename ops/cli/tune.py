"""`ellesmere tune`: measure the device at hand and keep the launches that suit it best."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.failures import FAILED
from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.table import Table

Answer = Mapping[str, object]
TUNER = "services.gpu_worker.tune"
MARK = "tune: "  # before the lines of its stderr that are meant for a person
GRACE = 5.0  # [s] for the tuner to end when it is told to
MILLI = 1e3
Operators = Annotated[
    list[str] | None, typer.Option("--operator", help="Only this operator; may be repeated.")
]
Budget = Annotated[
    float, typer.Option("--budget-s", min=1.0, max=86400.0, help="Seconds to spend measuring.")
]
NatsUrl = Annotated[str, typer.Option(help="Broker to share with.", envvar="ELLESMERE_NATS_URL")]


def tune(
    session: Session,
    operators: Operators = None,
    budget: Budget = 300.0,
    nats_url: NatsUrl = "nats://127.0.0.1:4222",
) -> None:
    """Search launch settings for this machine's OpenCL device and keep what is 5 % faster.

    Workers use them from their next start, here and wherever the same device, driver and kernels
    ask the same broker; `ellesmere doctor` shows them.
    Example: ellesmere tune --operator gemm_f32 --budget-s 60
    """
    disturbed = _workers(session)
    if disturbed:
        session.say(f"a stack works meanwhile ({', '.join(disturbed)}): it disturbs these times")
    arguments = [f"--operator={name}" for name in operators or ()]
    answer = run(session, [sys.executable, "-m", TUNER, *arguments, f"--budget-s={budget}"])
    shared = _share(session, nats_url, str(answer["key"]), str(answer["document"]))
    value = {name: held for name, held in answer.items() if name != "document"}
    value |= {"shared": shared, "disturbed_by": disturbed}
    rows = _rows(answer)
    session.show(value, lambda: _table(answer, rows))
    if rows and all("skipped" in row for row in rows):
        raise typer.Exit(FAILED)


def run(session: Session, command: Sequence[str]) -> Answer:
    """Run the tuner, tell of its progress, and return what it found.

    Raises:
        SuiteError: what it said is wrong, or that it was ended.
    """
    from ops.stack.process import ROOT
    from shared.contracts.errors import DeviceFailed

    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            command, stdout=told, stderr=subprocess.PIPE, text=True, errors="replace", cwd=ROOT
        )
        try:
            last = _follow(session, process)
            code = process.wait()
        finally:
            _end(process)
        told.seek(0)
        lines = told.read().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise DeviceFailed(f"the driver ended the tuner with code {code}: {last}") from None
    if "error" in answer:
        raise _error(answer["error"])
    return dict(answer)


def _follow(session: Session, process: "subprocess.Popen[str]") -> str:
    """Pass progress on; the last line that was none."""
    last = "without a word"
    assert process.stderr is not None  # it was asked for
    with process.stderr as lines, session.talk.status("opening the device") as status:
        for line in lines:
            if not line.startswith(MARK):
                last = line.strip() or last
                continue
            text = line.removeprefix(MARK).rstrip()
            if session.talk.is_terminal:
                status.update(text)
            if not session.talk.is_terminal or text.startswith(" "):
                session.say(text)
    return last


def _end(process: "subprocess.Popen[str]") -> None:
    """End it if it still runs, as after Ctrl-C."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _error(said: Mapping[str, str]) -> Exception:
    from shared.contracts.errors import SuiteError, catalogue

    error = catalogue().get(said["code"], SuiteError)(said["message"])
    error.fix = said["fix"]  # type: ignore[misc]  # of the class it had over there
    return error


def _workers(session: Session) -> list[str]:
    """Classes of the workers of a stack that answers; none without a stack."""
    from ops.cli import remote
    from shared.contracts.errors import SuiteError

    try:
        state = remote.call(session, lambda client: client.status(), seconds=3.0)
    except SuiteError:
        return []
    return sorted({worker.card.worker_class for worker in state.workers})


def _share(session: Session, url: str, key: str, document: str) -> bool:
    """Store the values for other workers, if a broker answers."""
    import anyio

    from ops.cli.checks import broker
    from shared.bus import jetstream
    from shared.chassis.settings import BusSettings, read
    from shared.contracts.errors import SuiteError
    from shared.contracts.subjects import Bucket

    try:
        broker.greet(url)
    except (OSError, ValueError):
        return False

    async def put() -> None:
        settings = read(BusSettings).model_copy(update={"nats_url": url})
        async with jetstream.connect(settings) as bus:
            await bus.put(Bucket.ROUTES, f"tuned.{key}", document.encode())

    try:
        anyio.run(put)
    except SuiteError as error:  # what was found is on disk already
        session.say(f"not shared: {error}")
        return False
    return True


def _rows(answer: Answer) -> list[dict[str, object]]:
    found = answer["results"]
    assert isinstance(found, list)  # the tuner is our own
    return found


def _table(answer: Answer, rows: list[dict[str, object]]) -> "Table":
    shown = columns("operator", "problem", "start ms", "tuned ms", "gain", "values")
    shown.title = f"{answer['device']} ({answer['driver']})"
    shown.title_justify = "left"
    for row in rows:
        shown.add_row(str(row["operator"]), str(row["problem"]), *_cells(row))
    return shown


def _cells(row: Mapping[str, object]) -> Iterator[str]:
    if "skipped" in row:
        yield from ("", "", "", f"skipped: {row['skipped']}")
        return
    values = row["values"]
    assert isinstance(values, dict)
    yield f"{float(str(row['start_seconds'])) * MILLI:.4f}"
    if not values:
        yield from ("", "", "start values" + ("" if row["complete"] else ", out of time"))
        return
    yield f"{float(str(row['seconds'])) * MILLI:.4f}"
    yield f"×{float(str(row['gain'])):.2f}"
    yield ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(str, value))
    return json.dumps(value)
