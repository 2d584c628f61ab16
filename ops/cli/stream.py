"""`ellesmere stream`: spikes from a file through a session, chunk by chunk."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session

if TYPE_CHECKING:
    from shared.client.client import Client
    from shared.client.sessions import Session as Stream
    from shared.contracts.v1.sessions import Learning
    from shared.tensors.dtypes import Array

MOST_STEPS = 1_000_000  # of a file of events
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Input = Annotated[
    Path,
    typer.Option(
        "--input",
        help="Spikes: .npy of 0 and 1, (steps, neurons) or (rows, steps, neurons); or .csv of "
        "events, a line `step,neuron` each.",
    ),
]
Chunk = Annotated[int, typer.Option(min=1, help="Steps of one call.")]
Called = Annotated[str | None, typer.Option("--session", help="Name of the session.")]
Resume = Annotated[bool, typer.Option(help="Go on with a session that lives.")]
Keep = Annotated[bool, typer.Option(help="Leave it alive, to be resumed.")]
Learn = Annotated[str | None, typer.Option(help="Layer that learns by pair STDP.")]
Gain = Annotated[float, typer.Option(help="Weight gained by a pair without delay, for --learn.")]
Loss = Annotated[float, typer.Option(help="Weight lost by a pair in the other order.")]
Tau = Annotated[float, typer.Option(help="Steps in which the window falls to 1/e.")]
Version = Annotated[str, typer.Option(help="Variant; none is the default one.")]
Output = Annotated[
    Path | None, typer.Option(help="Write events (row, step, neuron) and last values to a .npz.")
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds one call may take.")]


def stream(  # noqa: PLR0913 - one per option
    session: Session,
    name: Name,
    input_: Input,
    chunk: Chunk = 50,
    called: Called = None,
    resume: Resume = False,
    keep: Keep = False,
    learn: Learn = None,
    a_plus: Gain = 0.01,
    a_minus: Loss = 0.0,
    tau: Tau = 20.0,
    version: Version = "",
    output: Output = None,
    timeout: Timeout = 30.0,
) -> None:
    """Send spikes through a spiking network that goes on from call to call, and print what fires.

    Example: ellesmere stream spiky --input spikes.npy --chunk 25 --session eye --keep
    """
    from ops.cli import arrays, remote

    _require_sense(called, resume=resume, keep=keep, learn=learn)
    rule = _rule(learn, a_plus, a_minus, tau)

    async def work(client: "Client") -> "dict[str, Array]":
        opened = client.session(name, called, version=version, learning=rule, timeout=timeout)
        await (opened.join() if resume else opened.begin())
        port, neurons = await _port(client, name, version)
        made = await _fed(session, opened, port, _spikes(input_, neurons), chunk)
        if not keep:
            await opened.end()
        return made

    made = remote.call(session, work, seconds=timeout)
    if output:
        arrays.save(output, made)


def _require_sense(called: str | None, *, resume: bool, keep: bool, learn: str | None) -> None:
    """Raises InvalidUsage for options that mean nothing together."""
    from shared.contracts.errors import InvalidUsage

    if called is None and (resume or keep):
        option = "--resume" if resume else "--keep"
        raise InvalidUsage(f"{option} needs the name of the session: add --session")
    if resume and learn is not None:
        raise InvalidUsage(
            f"--learn {learn!r} is for a session that begins; one that lives learns as it began to"
        )


def _rule(layer: str | None, a_plus: float, a_minus: float, tau: float) -> "Learning | None":
    from shared.contracts.errors import InvalidUsage
    from shared.contracts.v1.sessions import Learning

    if layer is None:
        return None
    if not 0.0 < tau < math.inf:
        raise InvalidUsage(f"--tau is positive and finite, got {tau}")
    if not (math.isfinite(a_plus) and math.isfinite(a_minus)):
        raise InvalidUsage(f"--a-plus and --a-minus are finite, got {a_plus} and {a_minus}")
    return Learning(layer=layer, a_plus=a_plus, a_minus=a_minus, tau_plus=tau, tau_minus=tau)


async def _port(client: "Client", name: str, version: str) -> tuple[str, int]:
    """The input that takes the spikes, and for how many neurons."""
    from shared.contracts.errors import InvalidUsage

    metadata = await client.metadata(name, version)
    ports = [port for port in metadata.inputs if len(port.shape) == 3]
    if len(ports) != 1:
        found = ", ".join(f"{port.name} {list(port.shape)}" for port in metadata.inputs)
        raise InvalidUsage(f"a stream feeds one input (rows, steps, neurons); {name!r} has {found}")
    return ports[0].name, ports[0].shape[2]


async def _fed(
    session: Session, opened: "Stream", port: str, spikes: "Array", chunk: int
) -> "dict[str, Array]":
    """Feed and tell; the events of all chunks with the last of every other output."""
    import numpy as np

    events: list[Array] = []
    last: dict[str, Array] = {}
    begin = opened.steps
    async for made in opened.feed({port: spikes}, chunk=chunk):
        train = next((each for each in made.values() if each.ndim == 3), np.zeros((1, 0, 0)))
        step, row, neuron = np.nonzero(train.swapaxes(0, 1))
        events.append(np.stack([row, step + begin, neuron], axis=1).astype(np.int32))
        last = {key: array for key, array in made.items() if array.ndim != 3}
        _tell(session, begin, opened.steps, neuron)
        begin = opened.steps
    return {"events": np.concatenate(events or [np.zeros((0, 3), np.int32)]), **last}


def _tell(session: Session, begin: int, end: int, neuron: "Array") -> None:
    import numpy as np

    counts = np.bincount(neuron.astype(np.int64))
    most = [int(each) for each in np.argsort(-counts, kind="stable")[:3] if counts[each]]
    value = {"steps": [begin, end], "spikes": int(counts.sum()), "most": most}
    named = ", ".join(f"{each} ({counts[each]})" for each in most)
    text = f"steps {begin}..{end - 1}: {counts.sum()} spikes" + (f", most of {named}" * bool(most))
    session.show(value, lambda: text)


def _spikes(path: Path, neurons: int) -> "Array":
    """The spikes of a file, (rows, steps, neurons) f32.

    Raises:
        InvalidFile: it holds none.
    """
    import numpy as np

    from ops.cli import arrays
    from shared.contracts.errors import InvalidFile

    if path.suffix == ".csv":
        return _spread(path, neurons)
    found = arrays.load(path)
    if len(found) != 1:
        raise InvalidFile(f"{path} holds {', '.join(found)}; one array of spikes is streamed")
    (held,) = found.values()
    if held.ndim not in (2, 3):
        raise InvalidFile(f"{path} has shape {held.shape}, not (steps, neurons) or with rows first")
    if held.size == 0:
        raise InvalidFile(f"{path} has shape {held.shape}: nothing to stream")
    whole = held if held.ndim == 3 else held[np.newaxis]
    return whole.astype(np.float32)


def _spread(path: Path, neurons: int) -> "Array":
    """Lines `step,neuron` as spikes; a line of words at the beginning is a heading."""
    import numpy as np

    from ops.cli.failures import InvalidEvents

    with _readable(path):
        text = path.read_text()
        skip = int(text.lstrip()[:1] not in "+-.0123456789")
        lines = text.splitlines()[skip:]
        events = np.loadtxt(lines, dtype=np.int64, delimiter=",", ndmin=2) if lines else None
    if events is None or events.size == 0:
        raise InvalidEvents(f"{path} holds no event")
    _require_places(path, events, neurons)
    steps = int(events[:, 0].max()) + 1
    if steps > MOST_STEPS:
        raise InvalidEvents(f"{path} goes on for {steps} steps, at most {MOST_STEPS} are streamed")
    spikes = np.zeros((1, steps, neurons), np.float32)
    spikes[0, events[:, 0], events[:, 1]] = 1.0
    return spikes


def _require_places(path: Path, events: "Array", neurons: int) -> None:
    """Raises InvalidEvents, which names the first event that is none."""
    from ops.cli.failures import InvalidEvents

    if events.shape[1] != 2:
        raise InvalidEvents(f"{path}: an event has {events.shape[1]} numbers, not step,neuron")
    outside = (events.min(axis=1) < 0) | (events[:, 1] >= neurons)
    if outside.any():
        first = int(outside.argmax())
        raise InvalidEvents(
            f"{path}: event {first} is {','.join(map(str, events[first]))} (step,neuron); steps "
            f"count from 0, neurons 0..{neurons - 1}"
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from ops.cli.failures import InvalidEvents

    try:
        yield
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidEvents(f"{path}: {error}") from None
