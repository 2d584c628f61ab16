"""Brian2 as a side of `ops.bench.brunel`: C++ standalone, compiled once, timed by its own clock."""

import shutil
import sys
from pathlib import Path

import brian2 as b2

from ops.bench import brunel_side
from ops.bench.brunel_side import Model, Run

FOLDER = Path(sys.argv[1])


def build(model: Model) -> Run:
    """A program that draws its synapses and runs; the loop over steps is timed inside it."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    b2.set_device("cpp_standalone", directory=str(FOLDER), build_on_run=False)
    b2.prefs.devices.cpp_standalone.openmp_threads = 0
    b2.prefs.core.default_float_dtype = b2.float32
    b2.defaultclock.dt = model["dt"] * b2.second
    neurons = b2.NeuronGroup(
        model["excitatory"] + model["inhibitory"],
        "dv/dt = -v / tau : volt",
        threshold="v > theta",
        reset="v = v_reset",
        method="exact",
        namespace={
            "tau": model["tau"] * b2.second,
            "theta": model["threshold"] * b2.volt,
            "v_reset": model["reset"] * b2.volt,
        },
    )
    sources = b2.PoissonGroup(model["sources"], model["rate"] * b2.Hz)
    parts = {
        "excites": neurons[: model["excitatory"]],
        "inhibits": neurons[model["excitatory"] :],
        "source_excites": sources,
    }
    synapses = []
    for weight, group in parts.items():
        delay = 0 if group is sources else model["delay"]
        made = b2.Synapses(
            group,
            neurons,
            on_pre="v += w",
            delay=delay * b2.second,
            namespace={"w": model[weight] * b2.volt},
        )
        made.connect(p=model["share"])
        synapses.append(made)
    counts = b2.SpikeMonitor(neurons, record=False)
    network = b2.Network(neurons, sources, *synapses, counts)
    network.run(model["steps"] * model["dt"] * b2.second)
    b2.device.build(directory=str(FOLDER), compile=True, run=False, clean=False)

    def run() -> tuple[float, int]:
        b2.device.run(str(FOLDER), with_output=False, run_args=[])
        return float(b2.device._last_run_time), int(counts.num_spikes)

    return run


if __name__ == "__main__":
    brunel_side.serve(build, f"Brian2 {b2.__version__}, C++ standalone")
