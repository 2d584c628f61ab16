"""The demo's spiking part: pixels become spike trains, ten neurons integrate, the busiest one wins.

A linear classifier is trained; its weights become synapses onto ten leaky integrate-and-fire
neurons. Every product and every time step is a durable `operator` job (gemm_f32, lif_step).
Rate code and spike count: Gerstner et al., "Neuronal Dynamics", 2014, sections 7.2 and 7.3.
"""

import time

import numpy as np

from ops.demo import digits as data
from ops.demo import mlp
from ops.demo.digits import Digits, Training
from ops.demo.findings import Findings, Spiking
from ops.demo.story import Story
from shared.client.client import Client
from shared.client.jobs import raise_for
from shared.contracts.v1.jobs import OperatorBody
from shared.spiking import coding, temporal
from shared.tensors import layouts
from shared.tensors.dtypes import F32

STEPS = 64
DT = 1e-3  # [s]
DECAY = 0.95  # membrane, per step
GAIN = 0.05  # membrane units per unit of current
SHOWN = 0  # the held-out digit in the raster
PATIENCE = 60.0  # [s] for one job
CLASSIFIER = Training(sizes=(64, 10), epochs=150, penalty=0.0, rate=3e-3)


async def classify(client: Client, digits: Digits, findings: Findings, story: Story) -> None:
    """Classify the held-out digits by spike counts and keep one raster."""
    (layer,) = data.train(digits, CLASSIFIER)
    dense = mlp.predict([layer], digits.held_x).argmax(axis=1) == digits.held_labels
    rng = np.random.default_rng(0)
    train = coding.poisson(digits.held_x / np.float32(DT), steps=STEPS, dt=DT, rng=rng)
    started = time.monotonic()
    flat = train.reshape(-1, train.shape[-1])
    product = {"x": flat, "weight": layer.weight, "bias": layer.bias}
    (current,) = await _operator(client, "gemm_f32", product, {}, ("y",))
    fired, v = await _integrate(client, current.reshape(STEPS, len(digits.held_x), -1))
    guesses, firsts = coding.loudest(fired), temporal.earliest(fired)
    findings.spiking = Spiking(
        accuracy=float((guesses == digits.held_labels).mean()),
        dense_accuracy=float(dense.mean()),
        steps=STEPS,
        seconds=time.monotonic() - started,
        input_rate=float(train.mean()),
        first_accuracy=float((firsts == digits.held_labels).mean()),
        raster=np.concatenate([train[:, SHOWN], fired[:, SHOWN]], axis=1) > 0,
        membranes=v[:, SHOWN],
        digit=int(digits.held_labels[SHOWN]),
        guess=int(guesses[SHOWN]),
    )
    found = findings.spiking
    story.tell(
        f"{found.accuracy:.2%} by counting spikes over {STEPS} steps, {found.first_accuracy:.2%} "
        f"by the first spike, {found.dense_accuracy:.2%} with the same weights and no spikes "
        f"({found.seconds:.1f} s, {STEPS + 1} durable jobs)"
    )


async def _integrate(client: Client, current: F32) -> tuple[F32, F32]:
    """Spikes and potentials of ten neurons per digit, both as the current: (steps, n, 10)."""
    membrane, fired, after = np.zeros_like(current[0]), [], []
    for step in current:
        inputs = {"v": membrane, "current": step}
        attributes = {"decay": DECAY, "gain": GAIN}
        membrane, spikes = await _operator(
            client, "lif_step", inputs, attributes, ("v_next", "spikes")
        )
        fired.append(spikes)
        after.append(membrane)
    return np.stack(fired), np.stack(after)


async def _operator(
    client: Client,
    operator: str,
    inputs: dict[str, F32],
    attributes: dict[str, float],
    outputs: tuple[str, ...],
) -> list[F32]:
    tensors = {name: layouts.dense(array) for name, array in inputs.items()}
    receipt = await client.submit(OperatorBody(operator=operator, attributes=attributes), tensors)
    record, made = await client.result(receipt.job, timeout=PATIENCE)
    raise_for(record)
    return [np.asarray(made[name].values, np.float32) for name in outputs]
