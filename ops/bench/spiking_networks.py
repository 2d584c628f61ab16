"""Our side of `bench spiking`: a network of spiking layers on the CPU backend, and its limit."""

import os
from collections.abc import Mapping
from importlib import metadata

import numpy as np

from ops.bench import contender
from ops.bench.contender import Work
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis.settings import CpuSettings
from shared.network import execute
from shared.network.graph import Network, Step
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType, dense

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def prepare(case: Mapping[str, object]) -> dict[str, Work]:
    """The network for a batch of rates, with every thread and with one."""
    with np.load(str(case["file"])) as held:
        arrays = dict(held)
    network = network_of(arrays, int(str(case["steps"])), float(str(case["decay"])))
    rows = {"x": dense(arrays["x"])}
    calls = {}
    for name, threads in (("network", THREADS), ("network, one thread", 1)):
        backend = CpuBackend(engine.start(CpuSettings().cache, threads=threads))
        loaded = execute.load(network, backend)
        calls[name] = Work(lambda loaded=loaded: loaded.run(rows), float(network.weight_bytes))
    return calls


def network_of(arrays: Mapping[str, np.ndarray], steps: int, decay: float) -> Network:
    """Encode, two layers that spike, and the rates of the last."""
    weights = {name: dense(arrays[name]) for name in ("w0", "w1")}
    given = {"decay": decay}
    graph = (
        Step("encode", "rate_encode", {"x": "x"}, {"spikes": "s0"}, {"steps": steps}),
        Step("a", "lif_layer", {"spikes": "s0", "weight": "w0"}, _out("s1", "v1"), given),
        Step("b", "lif_layer", {"spikes": "s1", "weight": "w1"}, _out("s2", "v2"), given),
        Step("rate", "spike_rate", {"spikes": "s2"}, {"y": "y"}),
    )
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, arrays["w0"].shape[1]))
    return Network({"x": kind}, ("y",), graph, weights)


def _out(spikes: str, v: str) -> dict[str, str]:
    return {"spikes": spikes, "v_next": v}


def facts() -> dict[str, object]:
    """Versions of what is measured, and threads."""
    return {name: metadata.version(name) for name in ("ellesmere", "numba")} | {"threads": THREADS}


if __name__ == "__main__":
    contender.serve(prepare, facts)
