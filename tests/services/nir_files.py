"""Files of NIR and what networks made of them answer."""

import io
from itertools import pairwise

import nir
import numpy as np

from services.compressor.importers import nir_file, nir_populations
from shared.network import execute
from shared.network.graph import Network
from shared.operators.reference import ReferenceBackend
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

DT, STEPS = 1e-3, 60
Edges = list[tuple[str, str]]


def spikes(size: int, *, share: float = 0.3, seed: int = 4) -> F32:
    """Random trains (3, STEPS, size)."""
    made = np.random.default_rng(seed).random((3, STEPS, size)) < share
    return made.astype(np.float32)


def graph(nodes: dict[str, nir.NIRNode], edges: Edges | None = None) -> nir.NIRGraph:
    """Without edges the nodes are one after the other."""
    return nir.NIRGraph(nodes=nodes, edges=edges or list(pairwise(nodes)), type_check=False)


def written(nodes: dict[str, nir.NIRNode], edges: Edges | None = None) -> bytes:
    held = io.BytesIO()
    nir.write(held, graph(nodes, edges))
    return held.getvalue()


def ends(size: int | tuple[int, ...], made: int) -> tuple[nir.Input, nir.Output]:
    return (
        nir.Input(input_type={"input": np.atleast_1d(np.array(size))}),
        nir.Output(output_type={"output": np.array([made])}),
    )


def chain(*between: nir.NIRNode, size: int | tuple[int, ...] = 12, made: int = 5) -> bytes:
    first, last = ends(size, made)
    middle = {f"n{at}": node for at, node in enumerate(between)}
    return written({"input": first, **middle, "output": last})


def affine(size: int, made: int, *, seed: int = 0) -> nir.Affine:
    rng = np.random.default_rng((size, made, seed))
    bias = rng.standard_normal(made) * 0.1
    return nir.Affine(weight=rng.standard_normal((made, size)), bias=bias)


def every(count: int, value: float) -> np.ndarray:
    return np.full(count, value)


def lif(count: int, *, reset: float = 0.0, leak: float = 0.0) -> nir.LIF:
    return nir.LIF(
        tau=every(count, 0.01),
        r=np.random.default_rng(count).uniform(8, 14, count),
        v_leak=every(count, leak),
        v_threshold=every(count, 1.0),
        v_reset=every(count, reset),
    )


def served(data: bytes, *, dt: float = DT) -> Network:
    return nir_populations.translate(nir_file.decode(data), dt=dt, steps=STEPS)[0]


def answered(network: Network, x: F32) -> dict[str, np.ndarray]:
    found = execute.load(network, ReferenceBackend()).run({"x": dense(x)})
    return {name: tensor.values for name, tensor in found.items()}
