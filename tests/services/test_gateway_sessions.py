"""Sessions through a gateway: by the sequence parameters of the protocol, and on NATS."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import numpy as np
import pytest
from anyio.abc import TaskStatus

from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.chassis.fitness import State
from shared.chassis.watch import Watch
from shared.client.sessions import Session
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    InvalidMessage,
    InvalidName,
    InvalidTensor,
    NoWorker,
    SessionOutOfStep,
    UnknownModel,
    UnknownSession,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import PortSignature, Variant
from shared.contracts.v1.sessions import (
    Learning,
    SessionAnswer,
    SessionCall,
    SessionCard,
    SessionStart,
)
from shared.network import artifact
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor, dense
from tests.network.streams import INPUTS, OUTPUTS, STEPS, spiking
from tests.services import gateway_house, session_house
from tests.services.session_house import PARTS, WHOLE, X


@dataclass
class Town:
    """A gateway, and workers that can be ended one by one."""

    broker: MemoryBroker
    house: gateway_house.House
    stored: BlobRef
    workers: dict[str, tuple[anyio.Event, anyio.Event]] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)

    def session(self, name: str = "s", **options: object) -> Session:
        """A session of the model `spiky` as a client of ours sees it."""
        return self.house.client.session("spiky", name, **options)  # type: ignore[arg-type]  # of Session

    async def hire(self, worker: str) -> None:
        """Start a worker and wait until the gateway knows."""
        await self.house.group.start(self._work, worker)
        await self.house.hire(worker, artifacts=(self.stored.sha256,))

    async def _work(
        self, worker: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        asked, gone = self.workers[worker] = (anyio.Event(), anyio.Event())
        watch = self.watches[worker] = Watch()
        async with session_house.serving(self.broker, worker, watch):
            task_status.started()
            await asked.wait()
        gone.set()

    async def show(self) -> None:
        """Show the cards of all workers again and again, as workers do."""
        while True:
            for worker in list(self.workers):
                await self.house.workers[worker].show()
            await anyio.sleep(0.5)

    async def end(self, worker: str) -> None:
        """Let a worker drain, and wait until the gateway knows."""
        asked, gone = self.workers.pop(worker)
        asked.set()
        await gone.wait()
        await self.house.bus.remove(Bucket.WORKERS, worker)
        table = self.house.gateway.tables.table
        await self.house.until(lambda: worker not in table.cards)

    async def holder(self, name: str = "default.s") -> str:
        """The worker on the card of a session."""
        entry = await self.house.bus.get(Bucket.SESSIONS, name)
        assert entry is not None
        assert entry.value is not None
        return SessionCard.decode(entry.value).worker


@asynccontextmanager
async def town(*workers: str) -> AsyncIterator[Town]:
    """A gateway before workers that hold sessions of `spiky`."""
    broker = MemoryBroker()
    limits = Limits(silent=60.0)
    async with gateway_house.opened(broker, limits=limits, workers=()) as house:
        stored = await house.bus.put_blob(artifact.pack(spiking()), keep=True)
        made = Town(broker, house, stored)
        for worker in workers or ("cpu-1", "cpu-2"):
            await made.hire(worker)
        variant = Variant(name="dense", artifact=stored, weight_bytes=1)
        ports = (PortSignature(name="x", dtype="f32", shape=(-1, STEPS, INPUTS)),)
        model = gateway_house.manifest("spiky", variants=(variant,), inputs=ports)
        await house.put(model, "cpu")
        house.group.start_soon(made.show)
        yield made


async def test_steps_of_a_sequence_make_the_spikes_of_one_call() -> None:
    async with town() as town_, town_.session() as session:
        made = [(await session.step({"x": part}))["train"] for part in PARTS]

        assert session.steps == STEPS
    np.testing.assert_array_equal(np.concatenate(made, axis=1), WHOLE)
    assert WHOLE.any()


async def test_session_ends_with_its_block() -> None:
    async with town() as town_:
        async with town_.session() as session:
            await session.step({"x": PARTS[0]})

        with pytest.raises(UnknownSession, match="no session 's'"):
            await session.step({"x": PARTS[0]})


async def test_session_goes_on_where_its_worker_has_drained() -> None:
    async with town() as town_, town_.session() as session:
        first = await session.step({"x": PARTS[0]})
        await town_.end(await town_.holder())
        second = await session.step({"x": PARTS[1]})
        assert session.restored
        third = await session.step({"x": PARTS[2]})

        assert not session.restored
    made = np.concatenate([each["train"] for each in (first, second, third)], axis=1)
    np.testing.assert_array_equal(made, WHOLE[:, :30])


async def test_session_goes_on_elsewhere_when_the_device_of_its_worker_is_lost() -> None:
    async with town() as town_, town_.session() as session:
        await session.step({"x": PARTS[0]}, snapshot=True)
        first = await town_.holder()
        town_.watches[first].fitness.become(State.AWAY, "its process ended")

        made = await session.step({"x": PARTS[1]})

        assert session.restored
        assert await town_.holder() != first
    np.testing.assert_array_equal(made["train"], WHOLE[:, 7:8])


async def test_session_without_any_worker_left_waits_in_its_snapshot() -> None:
    async with town("cpu-1") as town_, town_.session() as session:
        await session.step({"x": PARTS[0]})
        await town_.end("cpu-1")
        with pytest.raises(NoWorker, match="'spiky' 'dense'"):
            await session.step({"x": PARTS[1]})

        await town_.hire("cpu-3")
        made = await session.step({"x": PARTS[1]})
    np.testing.assert_array_equal(made["train"], WHOLE[:, 7:8])


async def test_sessions_spread_over_the_workers() -> None:
    async with town() as town_:
        names = ("a", "b", "c", "d")
        async with AsyncExitStack() as open_:
            for name in names:
                await open_.enter_async_context(town_.session(name))

            holders = [await town_.holder(f"default.{name}") for name in names]

    assert sorted(holders) == ["cpu-1", "cpu-1", "cpu-2", "cpu-2"]


async def test_events_and_silence_go_through_a_session() -> None:
    async with town() as town_, town_.session() as session:
        row, step, neuron = np.nonzero(X.swapaxes(0, 1))
        events = np.stack([step, row, neuron], axis=1)

        made = await session.step({"x.events": events}, steps=STEPS, events=True)
        quiet = await session.step({}, steps=10, events=True)

    found = np.zeros_like(WHOLE)
    found[tuple(made["train.events"].T)] = 1
    np.testing.assert_array_equal(found, WHOLE)
    assert quiet["train.events"].shape[1] == 3
    assert quiet["v"].shape == (1, OUTPUTS)


async def test_snapshot_and_restore_through_a_session() -> None:
    async with town() as town_, town_.session() as session:
        await session.step({"x": PARTS[0]})
        assert await session.snapshot() == 7
        once = await session.step({"x": PARTS[1]})

        assert await session.restore() == 7
        again = await session.step({"x": PARTS[1]})

    np.testing.assert_array_equal(once["v"], again["v"])


async def test_fed_train_comes_back_whole_and_once_though_steps_are_lost() -> None:
    async with town() as town_, town_.session() as session:
        made = []
        async for part in session.feed({"x": X}, chunk=9):
            if not made:
                await session.snapshot()
            if len(made) == 2:  # as after a lost worker: all since the snapshot is gone
                await town_.session().restore()
            made.append(part["train"])

    assert [each.shape[1] for each in made] == [9, 9, 9, 9, 4]
    np.testing.assert_array_equal(np.concatenate(made, axis=1), WHOLE)


async def test_steps_lost_from_before_a_train_are_told() -> None:
    async with town() as town_, town_.session() as session:
        await session.step({"x": PARTS[0]})
        await town_.session().restore()

        with pytest.raises(SessionOutOfStep, match="at step 0, the call begins at 7"):
            _ = [part async for part in session.feed({"x": PARTS[1]}, chunk=9)]


async def test_call_at_another_step_is_refused() -> None:
    async with town() as town_, town_.session() as session:
        await session.step({"x": PARTS[0]})

        with pytest.raises(SessionOutOfStep, match="at step 7, the call begins at 3"):
            await session.step({"x": PARTS[1]}, at=3)


async def test_session_of_another_tenant_is_unknown() -> None:
    async with town() as town_, town_.session():
        stranger = gateway_house.Client(town_.house.address, tenant="stranger")
        async with stranger:
            with pytest.raises(UnknownSession, match="no session 's'"):
                await stranger.session("spiky", "s").step({"x": PARTS[0]})


async def test_session_of_another_model_is_told_apart() -> None:
    async with town() as town_, town_.session():
        with pytest.raises(InvalidMessage, match="runs 'spiky' 'dense', the call names 'digits'"):
            await town_.house.client.session("digits", "s").step({"x": PARTS[0]})


async def test_session_of_an_unknown_model_is_refused() -> None:
    async with town() as town_:
        with pytest.raises(UnknownModel, match=r"'spikey'.*'spiky'"):
            await town_.house.client.session("spikey", "s").begin()


@pytest.mark.parametrize("name", ["a.b", "a b", "*", "ä", "x" * 65])
async def test_bad_name_of_a_session_is_refused(name: str) -> None:
    async with town() as town_:
        with pytest.raises(InvalidName, match="sequence_id"):
            await town_.session(name).begin()


async def test_unknown_output_and_bad_spikes_are_refused() -> None:
    async with town() as town_, town_.session() as session:
        with pytest.raises(InvalidTensor, match="no output 'y'"):
            await session.step({"x": PARTS[0]}, outputs=["y"])
        with pytest.raises(InvalidTensor, match="a spike is 0 or 1"):
            await session.step({"x": PARTS[0] + 2})


@pytest.mark.parametrize(
    ("parameter", "value", "told"),
    [
        ("sequence_att", 1, "no parameter 'sequence_att'; known: sequence_id"),
        ("sequence_at", -1, "sequence_at: .* greater than or equal to 0, got -1"),
        ("sequence_at", "seven", "sequence_at: .*valid integer"),
        ("sequence_ttl", 1e9, "sequence_ttl: .* less than or equal to 43200"),
    ],
)
async def test_bad_parameters_are_named(parameter: str, value: object, told: str) -> None:
    async with town() as town_:
        request = gateway_house.wire.inference.ModelInferRequest(model_name="spiky")
        request.parameters["sequence_id"].int64_param = 7
        request.parameters["sequence_start"].bool_param = True
        field_ = {int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[parameter], field_, value)

        with pytest.raises(gateway_house.grpc.aio.AioRpcError, match=told):
            await town_.house.infer(request)


async def test_learning_is_asked_for_and_its_weights_are_read() -> None:
    learns = Learning(layer="hidden", a_plus=0.2)
    async with town() as town_, town_.session(learning=learns) as session:
        made = await session.step({"x": X}, kept=True)

    given = spiking().weights["w1"].values
    assert made["hidden:weight"].shape == given.shape
    assert (made["hidden:weight"] != given).any()


async def test_session_on_nats_is_the_same_session() -> None:
    async with town() as town_:
        start = SessionStart(model="spiky")
        first, made = await asked(town_, SessionCall(start=start), {"x": dense(PARTS[0])})
        assert (first.code, first.steps, first.model) == ("", 7, "spiky")
        np.testing.assert_array_equal(made["train"].values, WHOLE[:, :7])

        later = await town_.session().step({"x": PARTS[1]})

    np.testing.assert_array_equal(later["train"], WHOLE[:, 7:8])


async def test_errors_on_nats_carry_their_code_and_fix() -> None:
    async with town() as town_:
        unknown, _ = await asked(town_, SessionCall(), {"x": dense(PARTS[0])})
        reply = await town_.house.bus.request(subjects.session("default", "s"), b"{", timeout=5)
        garbage, _ = frame.decode(reply, SessionAnswer)
        large, _ = await asked(town_, SessionCall(), {"x": dense(np.zeros((1, 90_000, 12), "<f4"))})

    assert large.code == "EL-1108"
    assert unknown.code == "EL-1214"
    assert "fix: begin it with sequence_start" in unknown.message
    assert garbage.code == "EL-1101"


async def asked(
    town_: Town, call: SessionCall, tensors: dict[str, Tensor]
) -> tuple[SessionAnswer, dict[str, Tensor]]:
    """One request on the subject of the session."""
    subject = subjects.session("default", "s")
    data = await town_.house.bus.request(subject, frame.encode(call, tensors), timeout=5)
    return frame.decode(data, SessionAnswer)


PROGRAM = """
import sys
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
x = np.load(sys.argv[2])

def given(part):
    made = triton.InferInput("x", list(part.shape), "FP32")
    made.set_data_from_numpy(np.ascontiguousarray(part))
    return [made]

parts = np.split(x, [7, 30], axis=1)
spikes = []
for at, part in enumerate(parts):
    result = client.infer("spiky", given(part), sequence_id=42, sequence_start=at == 0,
                          sequence_end=at == len(parts) - 1)
    spikes.append(result.as_numpy("train"))
np.save(sys.argv[3], np.concatenate(spikes, axis=1))

answers = []
client.start_stream(lambda result, error: answers.append((result, error)))
for at, part in enumerate(parts):
    client.async_stream_infer("spiky", given(part), sequence_id="eye", sequence_start=at == 0,
                              sequence_end=at == len(parts) - 1)
client.async_stream_infer("spiky", given(parts[0]), sequence_id="eye")
client.stop_stream()
streamed = [result.as_numpy("train") for result, error in answers[:3]]
assert np.array_equal(np.concatenate(streamed, axis=1), np.load(sys.argv[3]))
told = [result.get_response().parameters["sequence_steps"] for result, error in answers[:3]]
assert [each.int64_param for each in told] == [7, 30, 40], told
assert "EL-1214" in str(answers[3][1]), answers[3]
"""


async def test_stock_client_streams_a_sequence(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = anyio.Path(tmp_path_factory.mktemp("triton"))
    program, x, made = folder / "client.py", folder / "x.npy", folder / "made.npy"
    await program.write_text(PROGRAM)
    np.save(str(x), X)
    async with town() as town_:
        arguments = [sys.executable, str(program), town_.house.address, str(x), str(made)]
        with anyio.fail_after(60):
            done = await anyio.run_process(arguments, check=False)

    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found: Array = np.load(str(made))
    np.testing.assert_array_equal(found, WHOLE)
