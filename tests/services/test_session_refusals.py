"""Calls that a worker's sessions refuse: each with its reason, and the session stays as it was."""

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis import stepping
from shared.contracts.errors import (
    BlobMissing,
    DeadlineExceeded,
    InvalidMessage,
    InvalidTensor,
    TooLarge,
)
from shared.contracts.v1.sessions import Learning, SessionCall, SessionStart
from shared.network import artifact
from shared.tensors.dtypes import F32
from tests.network.streams import INPUTS, spiking
from tests.services import compute_house, session_house
from tests.services.session_house import NOTHING, PARTS, SECOND, WHOLE, spiky


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (
            np.full((1, 3, INPUTS), 0.5, np.float32),
            r"'x' is 0\.5 at \(0, 0, 0\); a spike is 0 or 1",
        ),
        (np.full((1, 3, INPUTS), np.nan, np.float32), "'x' is nan"),
        (np.zeros((1, 3, INPUTS + 1), np.float32), rf"input 'x' is .*3, {INPUTS}\)"),
        (np.zeros((2, 3, INPUTS), np.float32), "the session has 1 rows, the call 2"),
        (np.zeros((1, 0, INPUTS), np.float32), "1 to 10000 steps, got 0"),
    ],
)
async def test_bad_spikes_are_named_and_leave_the_session_as_it_was(x: F32, told: str) -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0])

        with pytest.raises(InvalidTensor, match=told):
            await house.step(x)
        answer, outputs = await house.step(PARTS[1])

        assert answer.steps == 8
        np.testing.assert_array_equal(outputs["train"].values, WHOLE[:, 7:8])


async def test_events_alone_need_the_number_of_steps() -> None:
    async with spiky() as house:
        await house.begin()

        with pytest.raises(InvalidTensor, match="give `steps`"):
            await house.call(SessionCall(), {"x.events": NOTHING})


async def test_answer_that_would_be_too_large_is_refused_before_it_is_computed() -> None:
    async with spiky() as house:
        await house.begin()

        with pytest.raises(TooLarge, match="ask for fewer steps"):
            await house.call(SessionCall(steps=10_000, rows=60), {"x.events": NOTHING})


async def test_answer_that_no_message_holds_is_an_error_and_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stepping, "ANSWER", 2**30)
    async with spiky() as house:
        await house.begin()

        with pytest.raises(TooLarge):
            await house.call(SessionCall(steps=10_000, rows=60), {"x.events": NOTHING})


async def test_network_that_keeps_nothing_has_no_sessions() -> None:
    async with session_house.opened(MemoryBroker(), compute_house.scaling()) as house:
        with pytest.raises(InvalidMessage, match="'spiky' has no such sessions: the network keeps"):
            await house.begin()


@pytest.mark.parametrize(
    ("learning", "told"),
    [
        (Learning(layer="nobody"), "no layer 'nobody' can learn; there are hidden"),
        (Learning(layer="last"), "no layer 'last' can learn"),
        (Learning(layer="hidden", w_min=9.0), r"w_min 9\.0 exceeds w_max"),
    ],
)
async def test_what_cannot_learn_is_refused_where_the_session_begins(
    learning: Learning, told: str
) -> None:
    async with spiky() as house:
        with pytest.raises(InvalidMessage, match=told):
            await house.call(SessionCall(start=SessionStart(model="spiky", learning=learning)))


async def test_call_that_waited_longer_than_its_budget_is_not_done() -> None:
    async with spiky() as house:
        await house.begin()

        with pytest.raises(DeadlineExceeded, match="ended in the queue"):
            await house.step(PARTS[0], budget=1e-9)
        answer, _ = await house.call(SessionCall())

        assert answer.steps == 0


async def test_snapshot_without_its_blob_is_a_clear_error() -> None:
    async with spiky() as house:
        await house.begin()
        await house.step(PARTS[0], snapshot=True)
        card = await house.card()
        assert card is not None
        assert card.snapshot is not None
        await house.bus.delete_blob(card.snapshot)

        with pytest.raises(BlobMissing):
            await house.call(SessionCall(), worker=SECOND, take=True)


async def test_session_whose_network_is_gone_says_so() -> None:
    async with spiky() as house:
        other = await house.bus.put_blob(artifact.pack(spiking()))
        await house.bus.delete_blob(other)

        with pytest.raises(BlobMissing):
            await house.begin(worker=SECOND)
