"""Our side of `ops.bench.brunel`: one `recurrent_layer` on the CPU backend, on one thread."""

import time
from importlib import metadata

import numpy as np

from ops.bench import brunel_side
from ops.bench.brunel_side import Model, Run
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis.settings import CpuSettings
from shared.network import execute, streaming
from shared.network.graph import Network, Step
from shared.operators import spike_trains
from shared.spiking.recurrent import FIELDS
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

SEED = 580


def network_of(model: Model) -> Network:
    """Random synapses of one delay, in units of the threshold."""
    rng, m = np.random.default_rng(SEED), model["excitatory"] + model["inhibitory"]
    unit = model["threshold"]
    reaches = rng.random((m, model["sources"])) < model["share"]
    constants = {
        "decay": np.exp(-model["dt"] / model["tau"]),
        "threshold": 1.0,
        "reset": model["reset"] / unit,
        "direct": 1.0,
    }
    neurons = [np.full(m, constants.get(name, 0.0), np.float32) for name in FIELDS]
    weights = {
        "w": dense((reaches * model["source_excites"] / unit).astype(np.float32)),
        "r": _synapses(rng, model),
        "n": dense(np.stack(neurons)),
    }
    ports = {"spikes": "s", "weight": "w", "recurrent": "r", "neurons": "n"}
    made = {"spikes": "fired", "v_next": "v", "i_next": "i", "past_next": "past"}
    steps = (
        Step("pack", "spike_pack", {"x": "x"}, {"spikes": "s"}),
        Step("population", "recurrent_layer", ports, made),
    )
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, model["steps"], model["sources"]))
    return Network({"x": kind}, ("fired",), steps, weights)


def _synapses(rng: np.random.Generator, model: Model) -> Tensor:
    m, unit = model["excitatory"] + model["inhibitory"], model["threshold"]
    lag = round(model["delay"] / model["dt"])
    each = [
        np.flatnonzero(rng.random(m, np.float32) < model["share"]).astype(np.int32)
        for _ in range(m)
    ]
    counts = np.array([found.size for found in each])
    weight = (
        np.where(np.arange(m) < model["excitatory"], model["excites"], model["inhibits"]) / unit
    )
    starts = np.zeros((lag + 1) * m + 1, np.int32)
    starts[lag * m + 1 :] = np.cumsum(counts)
    parts = {
        "indptr": starts,
        "indices": np.concatenate(each),
        "values": np.repeat(weight, counts).astype(np.float32),
    }
    return Tensor(Layout.CSR, Dtype.F32, ((lag + 1) * m, m), parts)


def build(model: Model) -> Run:
    """The network as a stream, which goes on from run to run; spikes of the sources are drawn and
    packed while the clock runs, as they are on the other sides."""
    way = streaming.opened(network_of(model), rows=1, steps=model["steps"])
    backend = CpuBackend(engine.start(CpuSettings().cache, threads=1))
    later = execute.load(way.later, backend)
    rng = np.random.default_rng(SEED + 1)
    chance = np.float32(model["rate"] * model["dt"])
    shape = (1, model["steps"], model["sources"])
    first = execute.load(way.first, backend).run({"x": dense(np.zeros(shape, np.float32))})
    carried = {port: first[value] for port, value in way.carried.items()}

    def run() -> tuple[float, int]:
        started = time.perf_counter()
        x: F32 = (rng.random(shape, np.float32) < chance).astype(np.float32)
        made = later.run({"x": dense(x), **carried})
        seconds = time.perf_counter() - started
        carried.update({port: made[value] for port, value in way.carried.items()})
        return seconds, int(spike_trains.split(made["fired"]).sum(dtype=np.int64))

    return run


if __name__ == "__main__":
    brunel_side.serve(build, f"Ellesmere {metadata.version('ellesmere')}")
