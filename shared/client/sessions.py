"""The client's side of a session: a stream through a spiking network that goes on between calls."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Self

from shared.client import arrays
from shared.client.channel import Channel
from shared.contracts import wire
from shared.contracts.errors import SessionOutOfStep, SuiteError
from shared.contracts.v1.sessions import Learning
from shared.contracts.wire import inference
from shared.tensors.dtypes import Array

MICROSECONDS = 1_000_000
Parameter = bool | int | float | str


class Session:
    """One session; begins and ends with a block, or by `begin` and `end`.

    After every call `steps` says how many steps are done, `saved` to which a restore goes back, and
    `restored` whether the call found the session's worker gone and went on from there: then send
    the steps from `saved` on again.
    """

    def __init__(  # noqa: PLR0913 - one per thing to choose
        self,
        channel: Channel,
        model: str,
        name: str,
        *,
        version: str = "",
        ttl: float | None = None,
        learning: Learning | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.model, self.name, self.version = model, name, version
        self.steps, self.saved, self.restored = 0, 0, False
        self._channel, self._timeout = channel, timeout
        self._start: dict[str, Parameter] = {"start": True}
        if ttl is not None:
            self._start["ttl"] = ttl
        if learning is not None:
            self._start["learning"] = learning.model_dump_json()

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*([SuiteError] if kind else [])):  # the first trouble is told
            await self.end()

    async def begin(self) -> None:
        """Begin; a session of that name ends."""
        await self._call({}, (), self._start)

    async def step(  # noqa: PLR0913 - one per parameter of the call
        self,
        inputs: Mapping[str, Array],
        *,
        steps: int | None = None,
        at: int | None = None,
        events: bool = False,
        snapshot: bool = False,
        kept: bool = False,
        outputs: Iterable[str] = (),
    ) -> dict[str, Array]:
        """Send some steps through the network.

        Args:
            inputs: by name; (rows, steps, neurons), or as `<name>.events` (events, 3) i32 or i64:
                row, step of the session, neuron, in the order of steps. None: silence.
            steps: needed with events and with silence.
            at: steps that must be done before; refused if that is not so.
            events: have spikes as events too, `<name>.events` (events, 3) i32.
            snapshot: store one before the answer.
            kept: also answer what goes into the next call: potentials, weights that learn.
            outputs: names wanted; none means all.

        Returns:
            Read-only arrays by output name.
        """
        values: dict[str, Parameter] = {"events": events, "snapshot": snapshot, "kept": kept}
        values |= {} if steps is None else {"steps": steps}
        values |= {} if at is None else {"at": at}
        return arrays.outputs(await self._call(inputs, outputs, values))

    async def feed(
        self, inputs: Mapping[str, Array], *, chunk: int, outputs: Iterable[str] = ()
    ) -> AsyncIterator[dict[str, Array]]:
        """Send long trains in calls of at most `chunk` steps; yields what each makes, once.

        What a lost worker had not stored is sent again.

        Args:
            inputs: by name; (rows, steps, neurons), all of as many steps.

        Raises:
            SessionOutOfStep: steps are lost from before these trains.
        """
        begin = told = self.steps
        end = begin + min(array.shape[1] for array in inputs.values())
        while told < end:
            at = self.steps
            part = slice(at - begin, min(at + chunk, end) - begin)
            sent = {name: array[:, part] for name, array in inputs.items()}
            try:
                made = await self.step(sent, at=at, outputs=outputs)
            except SessionOutOfStep:
                if await self.join() < begin:
                    raise
                continue
            if self.steps > told:
                told = self.steps
                yield made

    async def snapshot(self) -> int:
        """Store a snapshot now; returns the steps in it."""
        await self._call({}, (), {"snapshot": True})
        return self.saved

    async def restore(self) -> int:
        """Go back to the last snapshot; returns the steps in it."""
        await self._call({}, (), {"restore": True})
        return self.steps

    async def join(self) -> int:
        """Look where a session is that lives; returns the steps that are done."""
        await self._call({}, (), {})
        return self.steps

    async def end(self) -> None:
        """End the session; nothing of it is kept."""
        await self._call({}, (), {"end": True})

    async def _call(
        self, inputs: Mapping[str, Array], outputs: Iterable[str], values: Mapping[str, Parameter]
    ) -> inference.ModelInferResponse:
        request = arrays.request(self.model, self.version, inputs, outputs)
        request.parameters["timeout"].int64_param = max(1, int(self._timeout * MICROSECONDS))
        for name, value in ({"id": self.name} | dict(values)).items():
            _set(request.parameters[f"sequence_{name}"], value)
        kind = inference.ModelInferResponse
        reply = await self._channel.unary(
            wire.INFERENCE, "ModelInfer", request, kind, timeout=self._timeout
        )
        self.steps = reply.parameters["sequence_steps"].int64_param
        self.saved = reply.parameters["sequence_snapshot"].int64_param
        self.restored = reply.parameters["sequence_restored"].bool_param
        return reply


def _set(parameter: inference.InferParameter, value: Parameter) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int():
            parameter.int64_param = value
        case float():
            parameter.double_param = value
        case _:
            parameter.string_param = value
