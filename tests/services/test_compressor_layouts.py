"""The layout of every pruned layer: chosen by trials on the class that serves, and remembered."""

from collections.abc import Mapping

import anyio
import numpy as np
import pytest

from services.compressor import laying, memory, pipeline
from services.compressor.memory import Host
from shared.bus.memory import MemoryBroker
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import CompressBody, InferBody
from shared.contracts.v1.workers import LayoutTrials, WorkerCard
from shared.network import artifact
from shared.network.graph import Network
from shared.sparse import candidates, choose, features, trials
from shared.sparse.candidates import EVERY, Candidate
from shared.sparse.choose import Question
from shared.sparse.convert import to_csr
from shared.sparse.trials import Answer, Failure, Trial
from shared.tensors import layouts
from shared.tensors.layouts import Layout, Tensor
from tests.network.networks import mlp
from tests.services.compressor_house import LABELS, WIDE, House, X, network, opened
from tests.services.onnx_files import file, node

ANY = CompressBody(model="net", method="prune", objective="latency", max_accuracy_drop=1.0)
SMALL = ANY.model_copy(update={"objective": "size"})
KEY = "layouts.cpu"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What each candidate takes [s], by layout; the jobs run all the same. Others take 1 s."""
    told = {"dense": 1e-3, "csr": 2e-3}
    real = laying._Trials.answer

    def answer(self: laying._Trials) -> Answer:
        found = real(self)
        if isinstance(found, Failure):
            return found
        return Trial(told.get(self.candidate.layout.value, 1.0), 0.0)

    monkeypatch.setattr(laying._Trials, "answer", answer)
    monkeypatch.setattr(choose, "TRIED", len(EVERY))
    return told


async def compressed(house: House, body: CompressBody = ANY) -> tuple[dict, dict[str, dict]]:
    """The report of a compress job, and its layers by step."""
    report = await house.compress(body)
    layers = report["layers"]
    assert isinstance(layers, list)
    return dict(report), {layer["step"]: layer for layer in layers}


async def stored(house: House) -> LayoutTrials:
    entry = await house.bus.get(Bucket.ROUTES, KEY)
    assert entry is not None
    return LayoutTrials.decode(entry.value or b"")


async def test_a_layer_is_stored_in_the_layout_that_was_fastest_where_it_serves(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    times |= {"sell": 1e-4}
    async with opened(memory) as house:
        await house.load(network())

        report, layers = await compressed(house)

        assert report["variant"] == "pruned90"
        assert layers["wide"]["operator"] == "spmm_sell"
        assert layers["wide"]["sparsity"] == pytest.approx(0.9, abs=1e-3)
        assert layers["wide"]["reason"].startswith("sell f32 0.1 ms")
        assert layers["wide"]["times"] == {
            **layers["wide"]["times"], "dense": 1e-3, "csr f32": 2e-3, "sell f32": 1e-4
        }  # fmt: skip
        assert layers["narrow"]["operator"] == "gemm_f32"
        assert layers["narrow"]["reason"].startswith("4 outputs, under 32")


async def test_the_accepted_variant_serves_the_accuracy_that_was_judged(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report, _ = await compressed(house, SMALL)

        assert report["accepted"] is True
        variant = (await house.manifest()).variant("pruned90")
        assert variant is not None
        assert variant.verdict is not None
        held = artifact.unpack(await house.bus.get_blob(variant.artifact))
        smallest = min(weight.nbytes for weight in held.weights.values() if weight.size == 64 * 512)
        assert smallest < 4 * 64 * 512 / 6
        _, outputs = await house.run(
            InferBody(model="net", variant="pruned90"), {"x": layouts.dense(X)}
        )
        served = float((outputs["y"].values.argmax(axis=1) == LABELS).mean())
        assert served == variant.verdict.accuracy


async def test_where_dense_is_fastest_the_network_stays_as_it_was_and_is_refused(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        first, held = await house.manifest(), await house.artifacts()

        report, layers = await compressed(house)

        assert report["accepted"] is False
        assert layers["wide"]["operator"] == "gemm_f32"
        assert layers["wide"]["sparsity"] == 0.0  # what stays dense is not pruned either
        assert layers["wide"]["reason"].startswith("dense 1 ms (made in 0 ms) against ")
        assert "csr f32 2 ms" in layers["wide"]["reason"]
        assert await house.manifest() == first
        assert await house.artifacts() == held


async def test_a_second_job_uses_the_trials_of_the_first_and_says_so(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    times |= {"csr": 1e-4}
    async with opened(memory) as house:
        await house.load(network())
        await compressed(house)
        found = await stored(house)
        times |= {"csr": 1.0}

        _, layers = await compressed(house)

        assert layers["wide"]["operator"] == "spmm_csr"
        assert "measured before on rows 2^9 cols 2^6 x 2^0" in layers["wide"]["reason"]
        assert await stored(house) == found
        assert (found.worker_class, found.edition) == ("cpu", trials.EDITION)


async def test_trials_of_another_driver_are_measured_again_and_replaced(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        await compressed(house)
        old = (await stored(house)).model_copy(update={"driver": "of last year"})
        await house.bus.put(Bucket.ROUTES, KEY, old.encode())

        _, layers = await compressed(house)

        assert "measured before" not in layers["wide"]["reason"]
        assert (await stored(house)).driver == ""  # that of the worker's card


@pytest.mark.parametrize("nonsense", [b"", b"{", b'{"type": "models.route.v1"}'])
async def test_what_cannot_be_read_from_the_bucket_is_replaced(
    memory: MemoryBroker, times: dict[str, float], nonsense: bytes
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        await house.bus.put(Bucket.ROUTES, KEY, nonsense)

        await compressed(house)

        assert (await stored(house)).trials


async def test_a_candidate_that_cannot_be_made_is_passed_over(
    memory: MemoryBroker, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times |= {"csr": 1e-4, "sell": 1e-6}
    real = candidates.laid_out

    def laid_out(tensor: Tensor, candidate: Candidate) -> Tensor:
        if candidate.layout is Layout.SELL:
            raise ValueError("no room for slices")
        return real(tensor, candidate)

    monkeypatch.setattr(candidates, "laid_out", laid_out)
    async with opened(memory) as house:
        await house.load(network())

        _, layers = await compressed(house)

        assert layers["wide"]["operator"] == "spmm_csr"
        assert "sell f32 (failed: no room for slices)" in layers["wide"]["reason"]
        assert "sell f32" not in layers["wide"]["times"]


async def test_when_every_trial_fails_the_layer_stays_dense(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying._Trials, "answer", lambda self: Failure("the device was lost"))
    async with opened(memory) as house:
        await house.load(network())

        report, layers = await compressed(house)

        assert report["accepted"] is False
        assert layers["wide"]["operator"] == "gemm_f32"
        assert layers["wide"]["reason"].startswith("dense (failed: the device was lost)")


async def test_narrow_values_are_stored_when_asked_for(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    times |= {"csr": 1e-4}
    async with opened(memory) as house:
        await house.load(network())

        report, layers = await compressed(house, SMALL.model_copy(update={"values": "f16"}))

        assert report["variant"] == "pruned90-f16"
        variant = (await house.manifest()).variant("pruned90-f16")
        assert variant is not None
        held = artifact.unpack(await house.bus.get_blob(variant.artifact))
        assert "f16" in {weight.dtype.value for weight in held.weights.values()}
        assert all(name == "dense" or name.endswith("f16") for name in layers["wide"]["times"])


async def test_values_that_f16_cannot_hold_leave_a_layer_dense_whatever_is_remembered(
    memory: MemoryBroker, times: dict[str, float]
) -> None:
    times |= {"csr": 1e-4}
    narrow = SMALL.model_copy(update={"values": "f16"})
    nodes = [node("MatMul", ["x", "w"], ["y"], name="wide")]
    async with opened(memory) as house:
        await house.load(network())
        await compressed(house, narrow)  # leaves trials of f16 for the class
        loud = file(nodes, {"w": WIDE * 1e5}, x=("batch", 64)).SerializeToString()
        await house.load(loud, model="loud")

        report, layers = await compressed(house, narrow.model_copy(update={"model": "loud"}))

        assert report["accepted"] is False
        assert layers["wide"]["operator"] == "gemm_f32"
        assert "what was remembered is not used: value" in layers["wide"]["reason"]
        assert "is outside f16" in layers["wide"]["reason"]


# A call of a trial


def step_of(made: Network) -> laying.Layer:
    (step,) = (step for step in made.steps if step.operator == "gemm_f32")
    return laying.Layer(step, made.weights[step.inputs["weight"]], (3, 8))


@pytest.mark.parametrize("name", ["dense", "csr f32", "block 16x16 i8"])
def test_a_trial_calls_what_the_layer_would_call(name: str) -> None:
    layer = step_of(mlp((8, 40), ("dense",)))
    weight = candidates.laid_out(layer.weight, EVERY[name])

    body, tensors = laying.call(layer, weight, 7)

    assert body.repeat == 7
    assert body.operator == ("gemm_f32" if name == "dense" else f"spmm_{weight.layout}")
    assert body.attributes.get("batch_first", False) == (name != "dense")
    assert body.attributes["activation"] == "none"
    assert tensors["x"].shape == (3, 8)
    assert tensors["bias"].shape == (40,)


def test_pruning_needs_a_layer_with_enough_outputs() -> None:
    with pytest.raises(ValueError, match="nothing to compress: layer0: 10 outputs, under 32"):
        pipeline.prune(mlp((64, 10), ("dense",)), 0.9)


def test_weights_that_are_no_numbers_cannot_be_pruned() -> None:
    made = mlp((8, 40), ("dense",))
    made.weights["w0"].values[3, 3] = np.nan

    with pytest.raises(ValueError, match="1 weights are NaN"):
        pipeline.prune(made, 0.9)


# The memory


def asked(rows: int) -> Question:
    matrix = layouts.dense(np.eye(rows, 64, dtype=np.float32))
    return Question(features.of(to_csr(matrix)), columns=1, uses=1)


def answered(**seconds: float) -> Mapping[Candidate, Answer]:
    return {EVERY[name.replace("_", " ")]: Trial(each, 0.0) for name, each in seconds.items()}


async def test_trials_of_other_values_of_the_same_class_are_kept(on: Host) -> None:
    broker = MemoryBroker()
    bus, question = broker.connect("one"), asked(64)

    await memory.store(bus, "cpu", on, [(question, answered(dense=2.0, csr_f32=1.0))])
    await memory.store(bus, "cpu", on, [(question, answered(dense=3.0, csr_f16=0.5))])

    (held,) = (await memory.load(bus, "cpu")).values()
    assert {name: trial.seconds for name, trial in held.trials.items()} == {
        "dense": 3.0,
        "csr f32": 1.0,
        "csr f16": 0.5,
    }


@pytest.fixture
def on() -> Host:
    return Host("a card", "1.0")


async def test_only_the_latest_classes_are_kept(on: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 2)
    bus = MemoryBroker().connect("one")
    questions = [asked(rows) for rows in (64, 256, 1024)]

    for question in questions:
        await memory.store(bus, "cpu", on, [(question, answered(dense=1.0, csr_f32=2.0))])

    assert [key.shape for key in await memory.load(bus, "cpu")] == [
        question.shape for question in questions[1:]
    ]


async def test_two_compressors_lose_nothing_of_each_other(on: Host) -> None:
    broker = MemoryBroker()
    answers = answered(dense=1.0, csr_f32=2.0)

    async with anyio.create_task_group() as group:
        for rows in (64, 256, 1024, 4096):
            bus, found = broker.connect(f"c-{rows}"), [(asked(rows), answers)]
            group.start_soon(memory.store, bus, "cpu", on, found)

    assert len(await memory.load(broker.connect("reader"), "cpu")) == 4


async def test_a_class_of_unlike_workers_has_no_memory() -> None:
    bus = MemoryBroker().connect("one")

    async def show(worker: str, driver: str) -> Host | None:
        card = WorkerCard(worker=worker, worker_class="cpu", service="s", pid=1, driver=driver)
        await bus.put(Bucket.WORKERS, worker, card.encode())
        return await memory.host(bus, "cpu")

    assert await memory.host(bus, "cpu") is None
    assert await show("a", "1") == Host("", "1")
    assert await show("b", "1") == Host("", "1")
    assert await show("c", "2") is None
