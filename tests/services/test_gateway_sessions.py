"""Sessions through a gateway: by the sequence parameters of the protocol, and on NATS."""

import sys
from contextlib import AsyncExitStack

import anyio
import numpy as np
import pytest

from shared.chassis.fitness import State
from shared.contracts.errors import (
    NoWorker,
    SessionOutOfStep,
    UnknownSession,
)
from shared.contracts.v1.sessions import (
    Learning,
    SessionCall,
    SessionStart,
)
from shared.tensors.dtypes import Array
from shared.tensors.layouts import dense
from tests.network.streams import OUTPUTS, STEPS, spiking
from tests.services.session_house import PARTS, WHOLE, X
from tests.services.session_town import asked, town


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
