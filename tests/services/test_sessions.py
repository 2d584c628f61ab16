"""Sessions of a worker: a stream goes on where it was, here or elsewhere, and ends in time."""

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis import sessions
from shared.contracts.errors import (
    BlobMissing,
    InvalidMessage,
    InvalidTensor,
    SessionElsewhere,
    SessionOutOfStep,
    UnknownSession,
)
from shared.contracts.v1.sessions import Learning, SessionCall, SessionStart
from shared.network import execute
from shared.operators.reference import ReferenceBackend
from shared.tensors.layouts import dense
from tests.network.streams import HIDDEN, recurrent, spiking
from tests.services import session_house
from tests.services.session_house import (
    FIRST,
    NOTHING,
    PARTS,
    SECOND,
    START,
    WHOLE,
    House,
    X,
    spiky,
)


async def test_stream_over_many_calls_makes_the_spikes_of_one() -> None:
    async with spiky() as house:
        await house.begin()

        made = [await house.step(part) for part in PARTS]

        assert [answer.steps for answer, _ in made] == [7, 8, 30, 40]
        spikes = np.concatenate([outputs["train"].values for _, outputs in made], axis=1)
        np.testing.assert_array_equal(spikes, WHOLE)
        assert spikes.any()


async def test_first_call_may_begin_the_session_and_the_last_end_it() -> None:
    async with spiky() as house:
        await house.step(PARTS[0], start=START)
        assert (await house.card()) is not None

        answer, _ = await house.step(PARTS[1], end=True)

        assert answer.steps == 8
        assert await house.card() is None
        with pytest.raises(UnknownSession, match="no session 's'"):
            await house.step(PARTS[2])


async def test_two_sessions_do_not_touch_each_other() -> None:
    async with spiky() as house:
        other = np.ones_like(PARTS[0])
        await house.begin()
        await house.begin(session="other")

        await house.step(PARTS[0])
        await house.call(SessionCall(), {"x": dense(other)}, session="other")
        _, outputs = await house.step(PARTS[1])

        np.testing.assert_array_equal(outputs["train"].values, WHOLE[:, 7:8])


async def test_session_of_another_tenant_is_unknown() -> None:
    async with spiky() as house:
        await house.begin()

        with pytest.raises(UnknownSession):
            await house.call(SessionCall(), {"x": dense(X)}, tenant="stranger")


async def test_session_goes_on_elsewhere_from_its_snapshot() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        await house.step(PARTS[1])  # of this no snapshot knows

        answer, _ = await house.call(SessionCall(), worker=SECOND, take=True)
        assert (answer.steps, answer.restored) == (7, True)
        made = [await house.step(part, worker=SECOND) for part in PARTS[1:]]

        spikes = np.concatenate([outputs["train"].values for _, outputs in made], axis=1)
        np.testing.assert_array_equal(spikes, WHOLE[:, 7:])


async def test_session_is_not_taken_from_a_worker_that_lives() -> None:
    async with spiky() as house:
        await house.begin()

        with pytest.raises(SessionElsewhere, match=f"is with worker {FIRST}"):
            await house.step(PARTS[0], worker=SECOND)


async def test_worker_drops_a_session_that_goes_on_elsewhere() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        await house.call(SessionCall(), worker=SECOND, take=True)

        with pytest.raises(SessionElsewhere, match="goes on at another worker"):
            await house.step(PARTS[1], snapshot=True)

        with pytest.raises(SessionElsewhere, match=f"is with worker {SECOND}"):
            await house.step(PARTS[1])


async def test_ending_where_a_session_no_longer_is_leaves_its_snapshot() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        await house.call(SessionCall(), worker=SECOND, take=True)

        with pytest.raises(SessionElsewhere, match="goes on at another worker"):
            await house.call(SessionCall(end=True))
        answer, _ = await house.call(SessionCall(restore=True), worker=SECOND)

    assert answer.steps == 7


async def test_start_that_is_refused_leaves_the_session_of_that_name() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0])

        start = SessionStart(model="spiky", learning=Learning(layer="nobody"))
        with pytest.raises(InvalidMessage, match="no layer 'nobody' can learn"):
            await house.call(SessionCall(start=start))
        answer, _ = await house.step(PARTS[1])

    assert answer.steps == 8


async def test_worker_that_drains_leaves_every_step_behind() -> None:
    broker = MemoryBroker()
    async with session_house.opened(broker, spiking()) as house:
        async with session_house.serving(broker, "cpu-3"):
            await house.begin(worker="cpu-3")
            await house.step(PARTS[0], worker="cpu-3")

        answer, _ = await house.call(SessionCall(), worker=FIRST, take=True)

    assert (answer.steps, answer.snapshot) == (7, 7)


async def test_spikes_on_their_way_arrive_on_the_worker_that_goes_on() -> None:
    broker, network = MemoryBroker(), recurrent()
    whole = execute.load(network, ReferenceBackend()).run({"x": dense(X)})["train"].values
    async with session_house.opened(broker, network) as house:
        async with session_house.serving(broker, "cpu-3"):
            await house.begin(worker="cpu-3")
            made = [await house.step(PARTS[0], worker="cpu-3")]

        await house.call(SessionCall(), worker=FIRST, take=True)
        made += [await house.step(part) for part in PARTS[1:]]

    spikes = np.concatenate([outputs["train"].values for _, outputs in made], axis=1)
    assert spikes.any()
    np.testing.assert_array_equal(spikes, whole)


async def test_restore_goes_back_to_the_snapshot() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        _, once = await house.step(PARTS[1])

        answer, again = await house.step(PARTS[1], restore=True)

        assert answer.steps == 8
        np.testing.assert_array_equal(again["v"].values, once["v"].values)


async def test_a_call_that_fails_after_it_went_back_leaves_the_session_where_it_was() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        await house.step(PARTS[1])

        with pytest.raises(InvalidTensor, match="a spike is 0 or 1"):
            await house.step(PARTS[1] + 2, restore=True)

        answer, made = await house.step(PARTS[2], at=8)
        assert answer.steps == 30
        np.testing.assert_array_equal(made["train"].values, WHOLE[:, 8:30])


async def test_restore_without_a_snapshot_begins_anew() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0])

        answer, outputs = await house.step(PARTS[0], restore=True)

        assert answer.steps == 7
        np.testing.assert_array_equal(outputs["train"].values, WHOLE[:, :7])


async def test_snapshot_follows_by_itself_and_takes_the_place_of_the_last() -> None:
    broker = MemoryBroker()
    async with session_house.opened(broker, spiking()) as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        first = await house.card()
        await house.step(PARTS[1])

        with_card = await _changed(house, first)

    assert with_card.steps == 8
    assert first is not None
    assert first.snapshot is not None
    with pytest.raises(BlobMissing):
        await broker.connect("reader").get_blob(first.snapshot)


async def _changed(house: House, last: object) -> sessions.SessionCard:
    async with house.bus.watch(sessions.Bucket.SESSIONS) as entries:
        async for entry in entries:
            card = sessions.SessionCard.decode(entry.value or b"")
            if card != last:
                return card
    raise AssertionError("the bucket ended")


async def test_session_that_nobody_calls_ends() -> None:
    async with spiky() as house:
        await house.begin(ttl=0.5)

        async with house.bus.watch(sessions.Bucket.SESSIONS) as entries:
            async for entry in entries:
                if entry.value is None:
                    break

        with pytest.raises(UnknownSession):
            await house.step(X)


async def test_start_ends_the_session_of_that_name() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0])

        answer, outputs = await house.step(PARTS[0], start=START)

        assert answer.steps == 7
        np.testing.assert_array_equal(outputs["train"].values, WHOLE[:, :7])


async def test_call_at_another_step_is_told_where_the_session_is() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0])

        with pytest.raises(SessionOutOfStep, match="at step 7, the call begins at 0"):
            await house.step(PARTS[0], at=0)
        answer, _ = await house.step(PARTS[1], at=7)

        assert answer.steps == 8


async def test_events_go_in_and_come_out() -> None:
    async with spiky() as house:
        await house.begin()
        row, step, neuron = np.nonzero(X)
        order = np.argsort(step, kind="stable")
        events = np.stack([row, step, neuron], axis=1)[order]
        half = events[:, 1] < 20

        tensors = {"x.events": dense(events[half])}
        _, first = await house.call(SessionCall(steps=20, events=True), tensors)
        tensors = {"x.events": dense(events[~half])}
        _, second = await house.call(SessionCall(steps=20, events=True), tensors)

        found = np.concatenate([made["train.events"].values for made in (first, second)])
        spikes = np.zeros_like(WHOLE)
        spikes[tuple(found.T)] = 1
        np.testing.assert_array_equal(spikes, WHOLE)
        assert "train" not in first


async def test_silent_steps_are_events_of_none() -> None:
    async with spiky() as house:
        await house.begin()
        call = SessionCall(steps=500, events=True)

        answer, outputs = await house.call(call, {"x.events": NOTHING})

        assert answer.steps == 500
        assert outputs["train.events"].shape == (0, 3)


async def test_layer_of_a_session_learns_from_what_it_is_shown() -> None:
    async with spiky() as house:
        start = SessionStart(model="spiky", learning=Learning(layer="hidden", a_plus=0.2))
        _, first = await house.step(PARTS[0], start=start, kept=True)
        _, second = await house.step(PARTS[2], kept=True)
        await house.call(SessionCall(start=START), session="fixed")
        _, fixed = await house.call(SessionCall(kept=True), {"x": dense(X)}, session="fixed")

    given = spiking().weights["w1"].values
    assert (first["hidden:weight"].values != second["hidden:weight"].values).any()
    assert second["hidden:weight"].values.max() <= given.max()
    assert "hidden:weight" not in fixed
    assert fixed["v1"].shape == (1, HIDDEN)


async def test_learned_weights_survive_the_worker() -> None:
    async with spiky() as house:
        start = SessionStart(model="spiky", learning=Learning(layer="hidden", a_plus=0.2))
        for session, cut in (("s", True), ("whole", False)):
            await house.call(SessionCall(start=start), session=session)
            for part in PARTS[:2]:
                await house.call(SessionCall(snapshot=True), {"x": dense(part)}, session=session)
            if cut:
                await house.call(SessionCall(), worker=SECOND, take=True)
        made = [
            await house.call(
                SessionCall(kept=True), {"x": dense(PARTS[2])}, session=session, worker=worker
            )
            for session, worker in (("s", SECOND), ("whole", FIRST))
        ]

    (_, moved), (_, stayed) = made
    np.testing.assert_array_equal(moved["hidden:weight"].values, stayed["hidden:weight"].values)
    np.testing.assert_array_equal(moved["train"].values, stayed["train"].values)


async def test_session_that_was_used_longest_ago_makes_room_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with spiky() as house:
        monkeypatch.setattr(sessions, "MOST", 1)
        await house.begin()
        await house.step(PARTS[0])

        await house.begin(session="other")
        answer, outputs = await house.step(PARTS[1])

        assert answer.restored
        np.testing.assert_array_equal(outputs["train"].values, WHOLE[:, 7:8])
