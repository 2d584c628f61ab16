"""The networks and rows of the faithfulness benchmark: digits of scikit-learn, an MLP per seed."""

from itertools import pairwise

import numpy as np

from ops.demo.digits import Digits
from shared.network import execute
from shared.network.graph import Network, Step
from shared.network.training import loop
from shared.network.training.loop import Rows
from shared.network.training.plan import TrainPlan
from shared.operators.spec import Backend, Run
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType, dense


def mlp(*sizes: int) -> Network:
    """x -> dense layers of these sizes with bias, relu between them; weights are zero."""
    weights, steps, value = {}, [], "x"
    for at, (inputs, outputs) in enumerate(pairwise(sizes)):
        weights[f"w{at}"] = dense(np.zeros((outputs, inputs), np.float32))
        weights[f"b{at}"] = dense(np.zeros(outputs, np.float32))
        last = at == len(sizes) - 2
        ports = {"x": value, "weight": f"w{at}", "bias": f"b{at}"}
        value = "scores" if last else f"h{at}"
        activation = {"activation": "none" if last else "relu"}
        steps.append(Step(f"dense_{at}", "gemm_f32", ports, {"y": value}, activation))
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, sizes[0]))
    return Network({"x": kind}, ("scores",), tuple(steps), weights)


def trained(start: Network, plan: TrainPlan, data: Digits, run: Run) -> Network:
    """The network after the plan, from new random weights."""
    rows = Rows(data.x, data.labels)
    state = loop.start(start, plan, fresh=True)
    while not loop.finished(state, plan, len(rows.x)):
        state = loop.advance(state, plan, rows, run)
    return state.network


def accuracy(network: Network, data: Digits, backend: Backend) -> float:
    """Share of held-out scans whose largest score is at their label."""
    loaded = execute.load(network, backend)
    try:
        (scores,) = loaded.run({"x": dense(data.held_x)}).values()
        return float((scores.values.argmax(axis=1) == data.held_labels).mean())
    finally:
        loaded.close()
