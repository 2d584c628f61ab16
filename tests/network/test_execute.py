"""Running: equal on every backend, nothing left behind, the reference steps in where one cannot."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cpu_worker.backend import CpuBackend
from shared.network import execute, shapes
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, OperatorSpec, Types
from shared.tensors import layouts
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor
from tests.network.networks import batched, f32, mlp, mlps


class Counting:
    """A device whose residents are boxes that it counts; it can be told what it cannot do."""

    name = "counting"

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.fails_at = ""
        self.room = -1  # uploads that fit; -1: all
        self.alive: dict[int, Tensor] = {}
        self.uploads = 0
        self.peak = 0
        self._ids = count()
        self._reference = ReferenceBackend()

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        return spec.name not in self.refused

    def upload(self, tensor: Tensor) -> int:
        if self.uploads == self.room:
            raise RuntimeError("the device is full")
        self.uploads += 1
        return self._box(tensor)

    def download(self, resident: int) -> Tensor:
        return self.alive[resident]

    def release(self, resident: int) -> None:
        del self.alive[resident]

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Any], attributes: Attributes
    ) -> dict[str, Any]:
        if spec.name == self.fails_at:
            raise RuntimeError("the device broke")
        held = {port: self.alive[box] for port, box in inputs.items()}
        outputs = self._reference.run(spec, held, attributes)
        return {port: self._box(tensor) for port, tensor in outputs.items()}

    def synchronize(self) -> None:
        pass

    def _box(self, tensor: Tensor) -> int:
        box = next(self._ids)
        self.alive[box] = tensor
        self.peak = max(self.peak, len(self.alive))
        return box


def rows(network: Network, batch: int) -> dict[str, Tensor]:
    width = network.inputs["x"].shape[1]
    assert width is not None
    values = np.random.default_rng(1).standard_normal((batch, width)).astype(np.float32)
    return {"x": layouts.dense(values)}


def output(network: Network, backend: Any, inputs: Mapping[str, Tensor]) -> F32:
    loaded = execute.load(network, backend)
    made = loaded.run(inputs)["y"].values.view(np.float32)
    loaded.close()
    return made


@given(mlps(), st.integers(1, 9))
def test_the_cpu_agrees_with_the_reference_on_any_mlp(network: Network, batch: int) -> None:
    inputs = rows(network, batch)

    expected = output(network, ReferenceBackend(), inputs)

    np.testing.assert_allclose(output(network, CpuBackend(), inputs), expected, 1e-4, 1e-5)


@given(mlps(), st.integers(2, 9))
def test_rows_of_a_batch_do_not_touch_each_other(network: Network, batch: int) -> None:
    inputs = rows(network, batch)

    whole = output(network, CpuBackend(), inputs)

    x = inputs["x"].values
    alone = [
        output(network, CpuBackend(), {"x": layouts.dense(x[row : row + 1])})
        for row in range(batch)
    ]
    np.testing.assert_allclose(np.concatenate(alone), whole, 1e-4, 1e-5)


def test_a_layer_by_hand() -> None:
    steps = (
        Step("dense", "gemm_f32", {"x": "x", "weight": "w", "bias": "b"}, {"y": "h"}),
        Step("clip", "relu", {"x": "h"}, {"y": "y"}),
    )
    weights = {"w": f32([1, 2], [3, -4]), "b": f32(0.5, 0)}
    network = Network({"x": batched(2)}, ("y",), steps, weights)

    made = output(network, CpuBackend(), {"x": f32([1, 1])})

    np.testing.assert_array_equal(made, [[3.5, 0.0]])  # 1 + 2 + 0.5; max(3 - 4, 0)


@given(mlps())
def test_nothing_stays_on_the_device(network: Network) -> None:
    device = Counting()
    loaded = execute.load(network, device)
    weights = set(device.alive)

    loaded.run(rows(network, 3))

    assert set(device.alive) == weights
    assert len(weights) == len(network.weights)
    loaded.close()
    assert not device.alive


def test_dead_activations_are_freed_while_the_network_runs() -> None:
    network = mlp((4,) * 9, ("dense",) * 8)
    device = Counting()

    execute.load(network, device).run(rows(network, 1))

    assert device.peak <= len(network.weights) + 2  # a step's input and its output


def test_a_chain_as_long_as_a_network_may_be_runs_for_a_batch_never_seen() -> None:
    steps = tuple(  # planning once compared each step with each value: seconds per batch size
        Step(f"s{place}", "relu", {"x": f"v{place}"}, {"y": f"v{place + 1}"})
        for place in range(shapes.MAX_STEPS)
    )
    network = Network({"v0": batched(2)}, (f"v{shapes.MAX_STEPS}",), steps, {})
    device = Counting()

    made = execute.load(network, device).run({"v0": f32([1, -2], [-3, 4], [5, 6])})

    np.testing.assert_array_equal(made[network.outputs[0]].values, [[1, 0], [0, 4], [5, 6]])
    assert device.peak == 2  # a step's input and its output


def test_weights_are_uploaded_once_for_many_runs() -> None:
    network = mlp((4, 4, 4), ("dense", "csr"))
    device = Counting()
    loaded = execute.load(network, device)

    for _ in range(5):
        loaded.run(rows(network, 2))

    assert device.uploads == len(network.weights) + 5  # and the input of each run


@given(mlps(), st.sampled_from(["gemm_f32", "gemm_i8", "spmm_csr", "softmax"]))
def test_what_the_device_cannot_do_the_reference_does(network: Network, refused: str) -> None:
    inputs = rows(network, 2)
    device = Counting(refused)

    made = output(network, device, inputs)

    np.testing.assert_array_equal(made, output(network, ReferenceBackend(), inputs))
    assert not device.alive


def test_a_failing_step_leaves_only_weights() -> None:
    network = mlp((4, 4, 4), ("dense", "dense"))
    device = Counting()
    loaded = execute.load(network, device)
    device.fails_at = "softmax"

    with pytest.raises(RuntimeError, match="the device broke"):
        loaded.run(rows(network, 2))

    assert len(device.alive) == len(network.weights)


def test_weights_that_do_not_all_fit_leave_none_behind() -> None:
    network = mlp((4, 4, 4), ("dense", "int8"))
    device = Counting()
    device.room = len(network.weights) - 1

    with pytest.raises(RuntimeError, match="the device is full"):
        execute.load(network, device)

    assert device.uploads == device.room
    assert not device.alive


def test_an_input_that_does_not_fit_leaves_only_weights() -> None:
    network = mlp((4, 4), ("dense",))
    device = Counting()
    loaded = execute.load(network, device)
    device.room = device.uploads

    with pytest.raises(RuntimeError, match="the device is full"):
        loaded.run(rows(network, 2))

    assert len(device.alive) == len(network.weights)


@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_of_none_or_one_runs_like_any(batch: int) -> None:
    network = mlp((5, 4, 3), ("csr", "int8"))
    inputs = rows(network, batch)

    made = output(network, CpuBackend(), inputs)

    assert made.shape == (batch, 3)
    np.testing.assert_allclose(made, output(network, ReferenceBackend(), inputs), 1e-4, 1e-5)


def test_a_closed_network_can_be_used_again() -> None:
    network = mlp((4, 4), ("dense",))
    device = Counting()
    loaded = execute.load(network, device)
    first = loaded.run(rows(network, 2))["y"].values

    loaded.close()

    np.testing.assert_array_equal(loaded.run(rows(network, 2))["y"].values, first)


def test_an_input_that_is_also_the_output_comes_back() -> None:
    network = Network(
        {"x": batched(2)}, ("x", "y"), (Step("s", "relu", {"x": "x"}, {"y": "y"}),), {}
    )

    made = execute.load(network, Counting()).run({"x": f32([1, -1])})

    np.testing.assert_array_equal(made["x"].values, [[1, -1]])
    np.testing.assert_array_equal(made["y"].values, [[1, 0]])


def test_a_trace_has_one_time_per_step() -> None:
    network = mlp((4, 4, 4), ("dense", "int8"))
    ticks = count()

    outputs, seconds = execute.load(network, CpuBackend()).trace(
        rows(network, 2), lambda: float(next(ticks))
    )

    assert seconds == [1.0, 1.0, 1.0]  # one tick of the clock from before to after each step
    assert outputs["y"].shape == (2, 4)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, r"inputs are \['x'\], not \[\]"),
        ({"x": f32([1, 2]), "z": f32([1])}, "inputs are"),
        ({"x": f32([1, 2, 3])}, r"\(batch, 2\), not dense f32 \(1, 3\)"),
        ({"x": f32(1, 2)}, r"not dense f32 \(2,\)"),
        ({"x": layouts.dense(np.zeros((1, 2)))}, "not dense f64"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, Tensor], why: str) -> None:
    network = Network({"x": batched(2)}, ("y",), (Step("s", "relu", {"x": "x"}, {"y": "y"}),), {})
    loaded = execute.load(network, CpuBackend())

    with pytest.raises(ValueError, match=why):
        loaded.run(inputs)


def test_a_batch_that_takes_too_much_memory_is_refused_before_it_is_begun() -> None:
    wide = layouts.dense(np.ones((2**18, 1), np.float32))
    steps = (Step("widen", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "y"}),)
    backend = Counting()
    loaded = execute.load(Network({"x": batched(1)}, ("y",), steps, {"w": wide}), backend)

    with pytest.raises(
        ValueError, match=r"'y' of step 'widen' would be \(4096, 262144\), over the"
    ):
        loaded.run({"x": layouts.dense(np.ones((2**12, 1), np.float32))})  # 2^30 elements

    assert len(backend.alive) == 1  # the weight


def test_inputs_of_different_batches_are_refused() -> None:
    network = Network(
        {"x": batched(2), "z": batched(2)},
        ("y",),
        (Step("s", "add", {"a": "x", "b": "z"}, {"y": "y"}),),
        {},
    )

    with pytest.raises(ValueError, match=r"disagree about the batch: \[1, 2\]"):
        execute.load(network, CpuBackend()).run({"x": f32([1, 2]), "z": f32([1, 2], [3, 4])})
