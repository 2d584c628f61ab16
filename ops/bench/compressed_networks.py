"""Our side of the comparison of quantized networks: what recipes make, on the CPU backend."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

from ops.bench import contender, digits_networks
from ops.bench.contender import Work
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis.settings import CpuSettings
from shared.network import execute, integers, observing, rewrites
from shared.network.graph import Network
from shared.network.training import backward
from shared.quantization import affine, ranges, scheme
from shared.quantization.observers import Observed
from shared.quantization.ranges import Affine
from shared.quantization.scheme import Scheme
from shared.quantization.solvers import gptq
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense

GROUP = 32
Solver = Callable[[str, F32], Tensor]


def prepare(case: Mapping[str, object]) -> dict[str, Work]:
    """Float32; INT8 per channel with float, dynamic and static activations; INT4 by group, rounded
    and by GPTQ; scores are written."""
    with np.load(str(case["file"])) as held:
        arrays = dict(held)
    backend = CpuBackend(engine.start(CpuSettings().cache))
    plain = _network(arrays)
    seen = observing.observe(plain, arrays["x"], backward.on(backend))
    int4 = scheme.int4_per_group(GROUP)
    int8 = _with(plain, lambda _, weight: affine.quantize(weight, scheme.INT8_PER_CHANNEL))
    variants = {
        "float32": plain,
        "int8": int8,
        "int8 dynamic": rewrites.with_attributes(int8, rewrites.products(int8), {"x_bits": 8}),
        "int8 static": integers.static(int8, {name: _codes(one) for name, one in seen.items()}),
        "int4 nearest": _with(plain, lambda _, weight: affine.quantize(weight, int4)),
        "int4 gptq": _with(plain, partial(_solved, int4, seen)),
    }
    return {name: _work(network, name, case, arrays, backend) for name, network in variants.items()}


def _network(arrays: Mapping[str, np.ndarray]) -> Network:
    """The case's weights as a network."""
    layers = sum(name.startswith("w") for name in arrays)
    sizes = [arrays["w0"].shape[1], *(len(arrays[f"w{at}"]) for at in range(layers))]
    network = digits_networks.mlp(*sizes)
    for name in network.weights:
        network.weights[name].parts["values"][:] = arrays[name]  # type: ignore[index]  # fresh
    return network


def _with(network: Network, solver: Solver) -> Network:
    made = {
        name: solver(name, network.weights[step.inputs["weight"]].values.view(np.float32))
        for name, step in rewrites.products(network).items()
    }
    return rewrites.with_weights(network, made)


def _codes(seen: Observed) -> Affine:
    return ranges.affine(ranges.percentile(seen), 8, symmetric=False)


def _solved(chosen: Scheme, seen: Mapping[str, Observed], name: str, weight: F32) -> Tensor:
    gram = seen[name].gram
    assert gram is not None  # layers are small
    return gptq.quantize(weight, gram, chosen)


def _work(
    network: Network,
    name: str,
    case: Mapping[str, object],
    arrays: Mapping[str, np.ndarray],
    backend: CpuBackend,
) -> Work:
    loaded = execute.load(network, backend)
    (scores,) = loaded.run({"x": dense(arrays["held_x"])}).values()
    np.save(Path(str(case["scores"])) / f"ours.{name}.npy", scores.values)
    rows = {"x": dense(arrays["held_x"][: int(str(case["batch"]))])}
    return Work(lambda: loaded.run(rows), float(network.weight_bytes))


def facts() -> dict[str, str]:
    """Versions of what is measured."""
    return {name: metadata.version(name) for name in ("ellesmere", "numba", "onnxruntime")}


if __name__ == "__main__":
    contender.serve(prepare, facts)
