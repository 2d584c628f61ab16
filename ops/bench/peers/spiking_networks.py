"""784-128-10 of leaky neurons in snnTorch, Norse or SpikingJelly; sides of `bench spiking`.

Runs in a virtual environment of its own that has these libraries, a process for each. Every call
encodes rates as random spikes, runs all steps and counts the spikes of the last layer.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import metadata

import numpy as np
import torch

from ops.bench import contender
from ops.bench.contender import Work

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
Arrays = Mapping[str, np.ndarray]
Run = Callable[[], object]


def prepare(case: Mapping[str, object]) -> dict[str, Work]:
    """The library's network for a batch of rates."""
    with np.load(str(case["file"])) as held:
        arrays = {name: np.asarray(array) for name, array in held.items()}
    steps, decay = int(str(case["steps"])), float(str(case["decay"]))
    torch.set_num_threads(THREADS)
    x = torch.from_numpy(arrays["x"])
    layers = [_linear(arrays[name]) for name in ("w0", "w1")]
    run = LIBRARIES[sys.argv[1]](layers, decay, steps)

    def call() -> object:
        with torch.no_grad():
            return run((torch.rand((steps, *x.shape)) < x).float())

    return {"network": Work(call)}


def spikingjelly(layers: list[torch.nn.Module], decay: float, steps: int) -> Callable:  # type: ignore[type-arg]
    """All steps of a layer at once, as its documentation advises."""
    from spikingjelly.activation_based import functional, layer, neuron

    parts: list[torch.nn.Module] = []
    for linear in layers:
        parts.append(layer.SeqToANNContainer(linear))
        parts.append(
            neuron.LIFNode(
                tau=1 / (1 - decay), decay_input=False, v_threshold=1.0, v_reset=0.0, step_mode="m"
            )
        )
    network = torch.nn.Sequential(*parts).eval()

    def run(spikes: torch.Tensor) -> torch.Tensor:
        functional.reset_net(network)
        made: torch.Tensor = network(spikes)
        return made.mean(0)

    return run


def snntorch(layers: list[torch.nn.Module], decay: float, steps: int) -> Callable:  # type: ignore[type-arg]
    """A loop over steps in Python, as its documentation has it."""
    import snntorch as snn

    neurons = [snn.Leaky(beta=decay, threshold=1.0, reset_mechanism="zero") for _ in layers]

    def run(spikes: torch.Tensor) -> torch.Tensor:
        held = [neuron.init_leaky() for neuron in neurons]
        count = torch.zeros(spikes.shape[1], layers[-1].out_features)  # type: ignore[arg-type]
        for step in range(steps):
            value = spikes[step]
            for at, (linear, neuron) in enumerate(zip(layers, neurons, strict=True)):
                value, held[at] = neuron(linear(value), held[at])
            count += value
        return count / steps

    return run


def norse(layers: list[torch.nn.Module], decay: float, steps: int) -> Callable:  # type: ignore[type-arg]
    """Neurons without a synaptic current, over all steps of a layer."""
    import norse.torch as norse_torch

    dt = 0.001
    given = norse_torch.LIFBoxParameters(
        tau_mem_inv=torch.tensor((1 - decay) / dt), v_th=torch.tensor(1.0)
    )
    cell = norse_torch.LIFBoxCell(given, dt=dt)

    def run(spikes: torch.Tensor) -> torch.Tensor:
        value = spikes
        for linear in layers:
            currents, state, made = linear(value) / (1 - decay), None, []
            for step in range(steps):
                fired, state = cell(currents[step], state)
                made.append(fired)
            value = torch.stack(made)
        return value.mean(0)

    return run


def _linear(weight: np.ndarray) -> torch.nn.Module:
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.data = torch.from_numpy(weight)
    return made


LIBRARIES = {"spikingjelly": spikingjelly, "snntorch": snntorch, "norse": norse}


def facts() -> dict[str, object]:
    """Versions of what is measured, and threads."""
    names = (sys.argv[1], "torch")
    return {**{name: metadata.version(name) for name in names}, "threads": THREADS}


if __name__ == "__main__":
    contender.serve(prepare, facts)
