"""Networks of norse, snnTorch and SpikingJelly as NIR files of their own making, and their spikes.

Runs in a virtual environment of its own that has these libraries: a name and a folder are its
arguments. For each type of neuron the library exports a layer of synapses and neurons to a file
`.nir`, and runs it over random spikes; those and what it made of them are beside it, `.npz`.
"""

import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import torch

INPUTS, NEURONS, STEPS, ROWS, SHARE, DT = 20, 16, 1000, 4, 0.2, 1e-4
DECAY, FILTER = 0.875, 0.75  # what of a potential and of a current is left after a step
# Sums of weights with 16 binary places are never at this threshold, so that it does not matter
# whether a neuron spikes there.
THRESHOLD = 1 + 2.0**-18
WHOLE = torch.ones(NEURONS)
Network = Any  # of torch, which has no types here


class Case(NamedTuple):
    """A network of a library."""

    node: str
    network: Network
    export: Callable[[Network], nir.NIRGraph]
    run: Callable[[Network, torch.Tensor], torch.Tensor]  # spikes (steps, rows, k) to those of (m)
    dt: float = DT  # of the file [s]
    shape: tuple[int, ...] = (INPUTS,)  # of what comes in


IMAGE, FEATURES = (2, 6, 6), (3, 6, 6)


def conv() -> torch.nn.Conv2d:
    """Synapses of an image whose weights 16 binary places hold."""
    made = torch.nn.Conv2d(2, 3, 3, padding=1)
    rng = np.random.default_rng(13)
    made.weight.data = torch.tensor(rng.integers(-16, 64, (3, 2, 3, 3)) / 128, dtype=torch.float32)
    made.bias.data = torch.tensor(rng.integers(-8, 9, 3) / 128, dtype=torch.float32)
    return made


def dense(inputs: int) -> torch.nn.Linear:
    """As `linear`, of averages of four spikes."""
    made = torch.nn.Linear(inputs, NEURONS)
    rng = np.random.default_rng(17)
    made.weight.data = torch.tensor(
        rng.integers(-32, 96, (NEURONS, inputs)) / 256, dtype=torch.float32
    )
    made.bias.data.zero_()
    return made


def linear(*, scale: float = 1.0) -> torch.nn.Linear:
    """Synapses whose weights 16 binary places hold."""
    made = torch.nn.Linear(INPUTS, NEURONS)
    rng = np.random.default_rng(7)
    weight, bias = rng.integers(-32, 64, (NEURONS, INPUTS)), rng.integers(-8, 9, NEURONS)
    made.weight.data = torch.tensor(weight * scale / 256, dtype=torch.float32)
    made.bias.data = torch.tensor(bias * scale / 256, dtype=torch.float32)
    return made


def norse() -> Iterator[Case]:
    """Cells, stepped one by one. A dt of 1 has its export write time constants in seconds."""
    import norse.torch as library

    tau = torch.full((NEURONS,), (1 - DECAY) / DT)
    level = {"v_th": WHOLE * THRESHOLD, "v_reset": WHOLE * 0}
    membrane = {"tau_mem_inv": tau, "v_leak": WHOLE * 0, **level}
    synapse = torch.full((NEURONS,), (1 - FILTER) / DT)
    box = library.LIFBoxCell(library.LIFBoxParameters(**membrane), dt=DT)
    current = library.LIFCell(library.LIFParameters(tau_syn_inv=synapse, **membrane), dt=DT)
    fires = library.IAFCell(library.IAFParameters(**level), dt=DT)
    image = torch.full(FEATURES, (1 - DECAY) / DT)
    level = {"v_th": image * 0 + THRESHOLD, "v_leak": image * 0, "v_reset": image * 0}
    features = library.LIFBoxCell(library.LIFBoxParameters(tau_mem_inv=image, **level), dt=DT)
    layers = library.SequentialState(conv(), features)
    yield Case("Conv2d, LIF", layers, _of_images, _carried, shape=IMAGE)
    for node, cell, scale, export, dt in (
        ("LIF", box, 8.0, _from_norse, DT),
        ("CubaLIF", current, 2.0, _from_norse, DT),
        ("CubaLIF, w_in of tau_syn / dt", current, 2.0, _with_input, DT),
        ("IF", fires, 1.0, _from_norse, DT),
        ("IF, steps of 1 s", fires, 1.0, _from_norse, 1.0),
    ):
        yield Case(node, library.SequentialState(linear(scale=scale), cell), export, _carried, dt)


def _from_norse(network: Network) -> nir.NIRGraph:
    from norse.torch.utils import export_nir

    return export_nir.to_nir(network, torch.zeros(1, INPUTS), dt=1.0)


def _of_images(network: Network) -> nir.NIRGraph:
    """The size of the image, which the export leaves out, is written beside its convolution."""
    from norse.torch.utils import export_nir

    graph = export_nir.to_nir(network, torch.zeros(1, *IMAGE), dt=1.0)
    for node in graph.nodes.values():
        if isinstance(node, nir.Conv2d):
            node.input_shape = IMAGE[1:]
    return graph


def _with_input(network: Network) -> nir.NIRGraph:
    graph = _from_norse(network)
    for node in graph.nodes.values():
        if isinstance(node, nir.CubaLIF):
            node.w_in = np.full(NEURONS, 1 / (1 - FILTER))
    return graph


def _carried(network: Network, x: torch.Tensor) -> torch.Tensor:
    state, made = None, []
    for step in x:
        out, state = network(step, state)
        made.append(out)
    return torch.stack(made)


def snntorch() -> Iterator[Case]:
    """Neurons that are reset to zero, a step late as it is usual there, or at once."""
    import snntorch as library

    usual = {"threshold": WHOLE * THRESHOLD, "reset_mechanism": "zero", "init_hidden": True}
    beta, alpha = WHOLE * DECAY, WHOLE * FILTER
    for node, made in {
        "LIF": library.Leaky(beta, **usual),
        "LIF, reset_delay=False": library.Leaky(beta, reset_delay=False, **usual),
        "CubaLIF": library.Synaptic(alpha, beta, **usual),
        "CubaLIF, reset_delay=False": library.Synaptic(alpha, beta, reset_delay=False, **usual),
    }.items():
        network = torch.nn.Sequential(linear(), made)
        yield Case(node, network, _from_snntorch, _kept)

    links = np.random.default_rng(11).integers(-64, 64, (NEURONS, NEURONS))
    given = {"linear_features": NEURONS, **usual, "init_hidden": False}
    for node, made in (
        ("LIF that reads itself", library.RLeaky(beta, **given)),
        (
            "LIF that reads itself, reset_delay=False",
            library.RLeaky(beta, reset_delay=False, **given),
        ),
        ("CubaLIF that reads itself", library.RSynaptic(alpha, beta, **given)),
    ):
        made.recurrent.weight.data = torch.tensor(links / 256, dtype=torch.float32)
        made.recurrent.bias.data.zero_()
        yield Case(node, torch.nn.Sequential(linear(), made), _from_snntorch, _returned)


def _from_snntorch(network: Network) -> nir.NIRGraph:
    from snntorch.export_nir import export_to_nir

    return export_to_nir(network, torch.zeros(INPUTS))


def _returned(network: Network, x: torch.Tensor) -> torch.Tensor:
    """Spikes that a layer reads in the next step."""
    synapses, neurons = network
    state, made = neurons.reset_mem(), []
    for step in x:
        state = neurons(synapses(step), *state)
        made.append(state[0])
    return torch.stack(made)


def _kept(network: Network, x: torch.Tensor) -> torch.Tensor:
    network[1].reset_mem()
    return torch.stack([network(step) for step in x])


def spikingjelly() -> Iterator[Case]:
    """Nodes that reset to a value."""
    from spikingjelly.activation_based import neuron

    level = {"v_threshold": THRESHOLD, "v_reset": 0.0}
    tau = 1 / (1 - DECAY)
    for node, made in {
        "IF": neuron.IFNode(**level),
        "IF, sums at the threshold": neuron.IFNode(v_threshold=1.0, v_reset=0.0),
        "LIF": neuron.LIFNode(tau=tau, decay_input=False, **level),
        "CubaLIF": neuron.CUBALIFNode(c_decay=FILTER, v_decay=DECAY, **level),
    }.items():
        yield Case(node, torch.nn.Sequential(linear(), made), _from_spikingjelly, _anew)
    leaks = {"tau": tau, "decay_input": False, **level}
    network = torch.nn.Sequential(
        conv(),
        neuron.LIFNode(**leaks),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        dense(27),
        neuron.LIFNode(**leaks),
    )
    whole = "Conv2d, LIF, AvgPool2d, Flatten, Linear, LIF"
    yield Case(whole, network, _from_spikingjelly, _anew, shape=IMAGE)


def _from_spikingjelly(network: Network) -> nir.NIRGraph:
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    shape = IMAGE if isinstance(network[0], torch.nn.Conv2d) else (INPUTS,)
    return export_to_nir(network, torch.zeros(1, *shape), dt=DT)


def _anew(network: Network, x: torch.Tensor) -> torch.Tensor:
    from spikingjelly.activation_based import functional

    functional.reset_net(network)
    return torch.stack([network(step) for step in x])


def main() -> None:
    """Write the files of one library."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    for at, case in enumerate(LIBRARIES[name]()):
        rng = np.random.default_rng(3)
        x = (rng.random((STEPS, ROWS, *case.shape)) < SHARE).astype(np.float32)
        with torch.no_grad():
            graph = case.export(case.network)
            made = case.run(case.network, torch.from_numpy(x)).numpy()
        nir.write(folder / f"{at}.nir", graph)
        np.savez(
            folder / f"{at}.npz",
            x=x.reshape(STEPS, ROWS, -1).swapaxes(0, 1),
            train=made.reshape(STEPS, ROWS, -1).swapaxes(0, 1),
            dt=case.dt,
            node=case.node,
            version=metadata.version(name),
        )


LIBRARIES = {"norse": norse, "snntorch": snntorch, "spikingjelly": spikingjelly}

if __name__ == "__main__":
    main()
