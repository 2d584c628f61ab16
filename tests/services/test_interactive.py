"""The interactive lane: whose rows come back to whom, and how each bad call fails alone."""

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.memory import MemoryBroker
from shared.chassis import batching
from shared.chassis.batching import Item
from shared.chassis.interactive import Limits
from shared.contracts import packed, subjects
from shared.contracts.errors import InvalidTensor, NoWorker
from shared.contracts.subjects import Bucket
from shared.network import execute
from shared.operators.reference import ReferenceBackend
from tests.network.streams import STEPS, spiking, trains
from tests.services.compute_house import (
    POISON,
    call,
    first_output,
    mixing,
    opened,
    rows,
    scaling,
    widening,
)
from tests.services.waiting import until

KNOWN = batching.signature(scaling())
LOADED = execute.load(scaling(), ReferenceBackend())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 12))
def test_every_caller_gets_its_own_rows_and_nobody_elses(sizes: list[int], limit: int) -> None:
    values = iter(range(10_000))
    sent = [rows(*(float(next(values)) for _ in range(size))) for size in sizes]
    items = [read(call("a" * 64, x)) for x in sent]

    for batch in batching.batches(items, KNOWN, limit=limit):
        outputs = LOADED.run(batching.join(batch, KNOWN))
        batching.split(batch, outputs, started=1.0, run=0.5, worker="w")

    answered = [answer_of(item) for item in items]
    assert all(np.array_equal(y, 2 * x) for x, (_, y) in zip(sent, answered, strict=True))
    assert all(answer.batch <= max(limit, *sizes) for answer, _ in answered)


def read(item: bytes) -> Item:
    ((held, body),) = packed.calls(item)
    arrays, count = batching.read(KNOWN, held, body)
    return Item(held, 0.0, arrays, count)


def answer_of(item: Item) -> tuple[packed.Answer, np.ndarray]:
    ((answer, body),) = packed.answers(item.answer or b"")
    return answer, first_output(answer, body)


@pytest.mark.parametrize(
    ("head", "size", "says"),
    [
        (packed.Head("x", "f32", (1, 4)), 16, r"f32 \(batch, 3\)"),
        (packed.Head("x", "f64", (1, 3)), 24, "not f64"),
        (packed.Head("x", "f32", (3,)), 12, "not f32"),
        (packed.Head("x", "f32", ()), 0, "not f32"),
        (packed.Head("x", "f32", (-1, 3)), 12, "not f32"),
        (packed.Head("z", "f32", (1, 3)), 12, r"\['x'\], not \['z'\]"),
        (packed.Head("x", "f32", (2, 3)), 12, "take 24 bytes, 12 came"),
        (packed.Head("x", "f32", (2**62, 3)), 12, "12 came"),
    ],
)
def test_a_call_that_does_not_fit_its_network_is_told_why(
    head: packed.Head, size: int, says: str
) -> None:
    bad = packed.Call("a" * 64, (head,))

    with pytest.raises(InvalidTensor, match=says):
        batching.read(KNOWN, bad, memoryview(bytes(size)))


def test_an_input_given_twice_or_an_output_that_is_not_there_is_refused() -> None:
    head = packed.Head("x", "f32", (1, 3))

    with pytest.raises(InvalidTensor, match="not \\['x', 'x'\\]"):
        batching.read(KNOWN, packed.Call("a" * 64, (head, head)), memoryview(bytes(24)))
    with pytest.raises(InvalidTensor, match="no output 'z'"):
        batching.read(KNOWN, packed.Call("a" * 64, (head,), ("z",)), memoryview(bytes(12)))


def test_a_spike_that_is_neither_0_nor_1_is_refused_with_its_place() -> None:
    x = trains(1, STEPS)
    x[0, 3, 5] = 0.25
    call_of_spikes = packed.Call("a" * 64, (packed.Head("x", "f32", x.shape),))

    with pytest.raises(InvalidTensor, match=r"'x' is 0\.25 at \(0, 3, 5\); a spike is 0 or 1"):
        batching.read(batching.signature(spiking()), call_of_spikes, memoryview(x.tobytes()))


def test_calls_of_a_network_that_mixes_rows_are_never_joined() -> None:
    known = batching.signature(mixing())
    items = [Item(packed.Call("a" * 64, ()), 0.0, {}, 1) for _ in range(3)]

    assert [len(batch) for batch in batching.batches(items, known, limit=100)] == [1, 1, 1]


async def test_calls_of_one_message_ride_in_one_run_and_are_answered_in_order(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        answers = await house.exchange(*(call(sha256, rows(n)) for n in (1.0, 5.0, 9.0)))

    assert [y[0, 0] for _, y in answers] == [2.0, 10.0, 18.0]
    assert {answer.batch for answer, _ in answers} == {3}
    assert {answer.worker for answer, _ in answers} == {"cpu-1"}
    assert house.backend.runs == [3]


async def test_messages_that_come_during_a_run_share_the_next_one(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        house.backend.gate.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(house.ask, call(sha256, rows(0.0)))
            await anyio.wait_all_tasks_blocked()
            for n in range(4):
                group.start_soon(house.ask, call(sha256, rows(float(n))))
            await anyio.wait_all_tasks_blocked()
            house.backend.gate.set()

    assert house.backend.runs == [1, 4]


async def test_a_bad_call_fails_alone(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        answers = await house.exchange(
            call(sha256, rows(1.0)),
            call(sha256, np.zeros((1, 4), np.float32)),
            call("0" * 64, rows(2.0)),
            call(sha256, rows(3.0), name="other"),
            call(sha256, rows(4.0)),
        )

    assert [answer.code for answer, _ in answers] == ["", "EL-1102", "EL-1202", "EL-1102", ""]
    assert [float(answers[at][1][0, 0]) for at in (0, 4)] == [2.0, 8.0]


async def test_a_call_that_breaks_the_run_of_a_batch_fails_alone(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        values = [1.0, 2.0, POISON, 4.0, 5.0]
        answers = await house.exchange(*(call(sha256, rows(value)) for value in values))

    assert [answer.code for answer, _ in answers] == ["", "", "EL-1302", "", ""]
    assert [float(y[0, 0]) for answer, y in answers if not answer.code] == [2.0, 4.0, 8.0, 10.0]
    assert "the device choked" in answers[2][0].message


async def test_a_call_whose_budget_ended_in_the_queue_is_not_run(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        answers = await house.ask(
            call(sha256, rows(1.0), budget=1e-9), call(sha256, rows(2.0), budget=60.0)
        )

    assert [answer.code for answer in answers] == ["EL-1206", ""]
    assert house.backend.runs == [1]


async def test_more_rows_than_may_wait_are_refused_at_once_though_a_run_goes_on(
    memory: MemoryBroker,
) -> None:
    async with opened(memory, limits=Limits(rows=4)) as house:
        sha256 = await house.add("scale", scaling())
        house.backend.gate.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(house.ask, call(sha256, rows(1.0, 2.0, 3.0)))
            await anyio.wait_all_tasks_blocked()
            refused = await house.ask(call(sha256, rows(4.0, 5.0)))
            house.backend.gate.set()
        accepted = await house.ask(call(sha256, rows(4.0, 5.0)))

    assert [answer.code for answer in refused] == ["EL-1207"]
    assert [answer.code for answer in accepted] == [""]


async def test_more_bytes_than_may_wait_are_refused(memory: MemoryBroker) -> None:
    async with opened(memory, limits=Limits(size=100)) as house:
        sha256 = await house.add("scale", scaling())
        answers = await house.ask(call(sha256, rows(1.0)), call(sha256, rows(2.0)))

    assert [answer.code for answer in answers] == ["EL-1207", "EL-1207"]


async def test_a_message_that_does_not_parse_gets_one_answer_and_harms_nobody(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        broken = await house.ask(call(sha256, rows(1.0))[:-3])
        sound = await house.ask(call(sha256, rows(1.0)))

    assert [answer.code for answer in broken] == ["EL-1101"]
    assert [answer.code for answer in sound] == [""]


async def test_answers_that_do_not_fit_a_message_become_errors(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("widen", widening(4096))
        x = np.zeros((512, 3), np.float32)  # 512 x 4096 x 4 bytes = 8 MiB come back
        answers = await house.ask(call(sha256, x))

    assert [answer.code for answer in answers] == ["EL-1108"]


async def test_a_quick_run_is_made_on_the_loop_and_a_first_one_in_the_thread(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        await house.ask(call(sha256, rows(1.0)))
        first = set(house.backend.threads)
        for _ in range(8):
            await house.ask(call(sha256, rows(1.0)))

    assert all(name.startswith("device-") for name in first)
    assert house.backend.threads - first


async def test_a_backend_bound_to_its_thread_is_called_from_no_other(
    memory: MemoryBroker,
) -> None:
    async with opened(memory, thread_bound=True) as house:
        sha256 = await house.add("scale", scaling())
        for _ in range(8):
            await house.ask(call(sha256, rows(1.0)))

    assert all(name.startswith("device-") for name in house.backend.threads)


async def test_workers_of_a_class_share_its_calls(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        subject = subjects.interactive("cpu")
        reply = await house.bus.request(subject, call(sha256, rows(1.0)), timeout=5)

    assert [answer.code for answer, _ in packed.answers(reply)] == [""]


async def test_what_has_arrived_is_answered_before_the_lane_closes(memory: MemoryBroker) -> None:
    answers: list[packed.Answer] = []

    async with anyio.create_task_group() as group, opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        house.backend.gate.clear()

        async def ask(value: float) -> None:
            answers.extend(await house.ask(call(sha256, rows(value))))

        group.start_soon(ask, 1.0)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask, 2.0)
        await anyio.wait_all_tasks_blocked()
        house.backend.gate.set()

    assert [answer.code for answer in answers] == ["", ""]
    with pytest.raises(NoWorker):
        await house.ask(call(sha256, rows(1.0)))


async def test_an_unloaded_model_is_no_longer_answered(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        await house.bus.remove(Bucket.MODELS, "scale")
        await until(lambda: house.artifacts.find(sha256) is None)
        answers = await house.ask(call(sha256, rows(1.0)))

    assert [answer.code for answer in answers] == ["EL-1202"]
    assert house.backend.held == 0
