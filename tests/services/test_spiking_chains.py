"""Layers of neurons in a row on the CPU: in one call, step by step, and as the definitions say."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cpu_worker.backend import CpuBackend
from services.cpu_worker.engine import Engine
from shared.network import execute, streaming
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Link, Prepared, Tensors
from shared.spiking.layers import NEVER
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

LEAKY: Attributes = {"decay": 0.9, "threshold": 0.4}
SUBTRACTING: Attributes = {**LEAKY, "decay": 1.0, "subtract": True}
RAISED: Attributes = {**LEAKY, "leak": 0.3, "reset": -0.1}
FILTERED: Attributes = {**LEAKY, "synapse": 0.8, "couple": 0.5, "direct": 0.25}
SILENT: Attributes = {**LEAKY, "threshold": NEVER}
SIZES = st.sampled_from([1, 10, 31, 32, 33, 64, 97, 128, 161])
EVERY = HealthCheck.function_scoped_fixture


class Recording(CpuBackend):
    """Remembers how many calls each of its chains stands for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.chains: list[int] = []

    def chain(self, links: tuple[Link, ...]) -> Prepared | None:
        made = super().chain(links)
        if made is not None:
            self.chains.append(len(links))
        return made


def network(
    sizes: tuple[int, ...],
    layers: tuple[Attributes, ...],
    *,
    outputs: tuple[str, ...] = ("y",),
    steps: int = 9,
    scale: float = 1.0,
    biased: bool = False,
    seed: int = 0,
) -> Network:
    """Numbers to spikes s0, layers that make s1, s2 ... and v1, v2 ..., and the rates of the last.

    Args:
        outputs: beside y, potentials v1 ..., and u1 ..., spikes as numbers.
    """
    rng = np.random.default_rng(seed)
    weights, graph = (
        {},
        [Step("encode", "rate_encode", {"x": "x"}, {"spikes": "s0"}, {"steps": steps})],
    )
    for at, attributes in enumerate(layers, 1):
        k, m = sizes[at - 1 : at + 1]
        weights[f"w{at}"] = dense(
            (rng.standard_normal((m, k)) * scale / np.sqrt(k)).astype(np.float32)
        )
        ports = {"spikes": f"s{at - 1}", "weight": f"w{at}"}
        if biased:
            weights[f"b{at}"] = dense((0.2 * rng.standard_normal(m)).astype(np.float32))
            ports["bias"] = f"b{at}"
        made = {"spikes": f"s{at}", "v_next": f"v{at}"}
        operator = "cuba_layer" if "synapse" in attributes else "lif_layer"
        if operator == "cuba_layer":
            made["i_next"] = f"i{at}"
        graph.append(Step(f"layer{at}", operator, ports, made, attributes))
    graph.append(Step("rate", "spike_rate", {"spikes": f"s{len(layers)}"}, {"y": "y"}))
    graph += [
        Step(f"unpack{name}", "spike_unpack", {"spikes": f"s{name[1:]}"}, {"y": name})
        for name in outputs
        if name.startswith("u")
    ]
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, sizes[0]))
    return Network({"x": kind}, outputs, tuple(graph), weights)


def numbers(rows: int, neurons: int, *, most: float = 1.0, seed: int = 1) -> dict[str, Tensor]:
    return {
        "x": dense(np.random.default_rng(seed).uniform(0, most, (rows, neurons)).astype(np.float32))
    }


def require_equal(network: Network, inputs: Tensors, threads: int = 1) -> Recording:
    """The network in chains, step by step, and by the definitions; all equal bit by bit."""
    backend = Recording(Engine(threads, None))
    loaded = execute.load(network, backend)
    wanted = execute.load(network, ReferenceBackend()).run(inputs)

    chained, (apart, _) = loaded.run(inputs), loaded.trace(inputs, perf_counter)

    for name, one in wanted.items():
        np.testing.assert_array_equal(chained[name].values, one.values)
        np.testing.assert_array_equal(apart[name].values, one.values)
    return backend


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[EVERY])
def test_chained_layers_make_the_spikes_of_the_definitions(
    kernels: Engine, data: st.DataObject
) -> None:
    layers = data.draw(
        st.lists(
            st.sampled_from([LEAKY, SUBTRACTING, RAISED, FILTERED, SILENT]), min_size=1, max_size=3
        )
    )
    sizes = tuple(data.draw(SIZES) for _ in range(len(layers) + 1))
    drawn = network(
        sizes,
        tuple(layers),
        steps=data.draw(st.integers(1, 40)),
        scale=data.draw(st.sampled_from([0.5, 1e3])),
        biased=data.draw(st.booleans()),
        outputs=data.draw(st.sampled_from([("y",), ("y", f"v{len(layers)}"), ("v1", "y")])),
        seed=data.draw(st.integers(0, 99)),
    )
    most = data.draw(st.sampled_from([0.0, 0.1, 1.0, 3.0]))
    inputs = numbers(data.draw(st.integers(1, 5)), sizes[0], most=most)

    backend = require_equal(drawn, inputs, threads=data.draw(st.sampled_from([1, 2])))

    assert max(backend.chains) == len(drawn.steps)


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.0, -1.0, 2.0, np.nan, np.inf, -np.inf, 1e-30, 2**-25]
)
def test_every_number_is_encoded_as_the_definition_does(kernels: Engine, value: float) -> None:
    x: F32 = np.linspace(0, 1, 2 * 70, dtype=np.float32).reshape(2, 70)
    x[:, ::3] = value

    require_equal(network((70, 33), (LEAKY,)), {"x": dense(x)})


def test_what_is_read_between_two_layers_is_made(kernels: Engine) -> None:
    watched = network((70, 33, 40, 10), (LEAKY,) * 3, outputs=("y", "u2"))

    backend = require_equal(watched, numbers(3, 70))

    assert backend.chains == [3, 2] * 2  # as far as s2, and from there: for one row, and for three


def test_potentials_and_currents_leave_a_chain(kernels: Engine) -> None:
    kept = network((70, 33, 40), (FILTERED, LEAKY), outputs=("y", "v1", "i1", "v2"))

    backend = require_equal(kept, numbers(3, 70))

    assert backend.chains == [4, 4]


def test_random_spikes_are_no_part_of_a_chain(kernels: Engine) -> None:
    made = network((70, 33), (LEAKY,))
    first, *rest = made.steps
    randomly = replace(first, attributes={**first.attributes, "mode": "randomly"})

    backend = require_equal(replace(made, steps=(randomly, *rest)), numbers(3, 70))

    assert backend.chains == [2, 2]


def test_a_chain_without_rows_makes_no_spikes(kernels: Engine) -> None:
    require_equal(network((70, 33, 10), (LEAKY, LEAKY)), numbers(0, 70))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_goes_through_a_chain_in_pieces_of_any_length(
    kernels: Engine, threads: int
) -> None:
    whole, piece = (_counting(steps) for steps in (20, 10))
    opened = streaming.opened(piece, rows=2)
    train = (np.random.default_rng(5).random((2, 20, 70)) < 0.3).astype(np.float32)
    backend = Recording(Engine(threads, None))
    wanted = execute.load(whole, ReferenceBackend()).run({"x": dense(train)})["y"].values

    first = execute.load(opened.first, backend).run({"x": dense(train[:, :10].copy())})
    carried = {name: first[made] for name, made in opened.carried.items()}
    later = execute.load(opened.later, backend).run({"x": dense(train[:, 10:].copy()), **carried})

    spikes = np.rint(10 * first["y"].values) + np.rint(10 * later["y"].values)
    np.testing.assert_array_equal(spikes, np.rint(20 * wanted))
    assert backend.chains


def test_without_compiled_kernels_nothing_is_chained() -> None:
    backend = CpuBackend()
    made = network((70, 33, 10), (LEAKY, LEAKY))

    chained = execute.load(made, backend).run(numbers(2, 70))

    np.testing.assert_array_equal(
        chained["y"].values, execute.load(made, ReferenceBackend()).run(numbers(2, 70))["y"].values
    )


def _counting(steps: int) -> Network:
    """Spikes that come as they are, two layers, and the rates of the last."""
    made = network((70, 33, 10), (LEAKY, FILTERED), steps=steps)
    pack = Step("pack", "spike_pack", {"x": "x"}, {"spikes": "s0"})
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, steps, 70))
    return replace(made, inputs={"x": kind}, steps=(pack, *made.steps[1:]))
