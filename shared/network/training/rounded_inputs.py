"""What products read as bytes while a network is trained, so that it gets used to that as well.

The range of each input is an exponential average over mini-batches; forwards a value is rounded to
a byte and back, backwards its slope passes where it is in range.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.1.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from shared.network.graph import Network, Step
from shared.network.training.backward import Taped
from shared.operators.spec import Attributes
from shared.quantization import ranges
from shared.quantization.observers import MOVING
from shared.quantization.ranges import Affine, Range
from shared.tensors.dtypes import F32

BYTE = 8  # bits
LOW, HIGH = "low:", "high:"  # before the name of a step, among the kept numbers of a state
Numbers = Mapping[str, float]


def observed(kept: Numbers, steps: Mapping[str, Step], taped: Taped) -> dict[str, float]:
    """The kept numbers after one more mini-batch.

    Args:
        steps: products by name, as the network has them.
        taped: the values of the run.
    """
    found = dict(kept)
    for name, step in steps.items():
        x: F32 = taped.values[step.inputs["x"]].values.view(np.float32)
        ends = {LOW: float(x.min(initial=0.0)), HIGH: float(x.max(initial=0.0))}
        for end, now in ends.items():
            past = kept.get(end + name, now)
            found[end + name] = MOVING * past + (1 - MOVING) * now
    return found


def codes(kept: Numbers, steps: Mapping[str, Step]) -> dict[str, Affine]:
    """The bytes of what each product reads, of those that were observed."""
    return {
        name: ranges.affine(Range(kept[LOW + name], kept[HIGH + name]), BYTE, symmetric=False)
        for name in steps
        if LOW + name in kept
    }


def rounded(network: Network, found: Mapping[str, Affine]) -> Network:
    """A network whose products read what bytes stand for.

    Args:
        found: by step name, see `codes`.
    """
    steps: list[Step] = []
    for step in network.steps:
        if step.name in found:
            steps += _there_and_back(step, found[step.name])
            step = replace(step, inputs={**step.inputs, "x": f"{step.name}:x"})
        steps.append(step)
    return replace(network, steps=tuple(steps))


def _there_and_back(step: Step, affine: Affine) -> tuple[Step, Step]:
    given: Attributes = {"scale": affine.scale, "zero": affine.zero}
    codes, made = f"{step.name}:codes", f"{step.name}:x"
    there = Step(f"{step.name}:there", "quantize_i8", {"x": step.inputs["x"]}, {"y": codes}, given)
    return there, Step(f"{step.name}:back", "dequantize_i8", {"x": codes}, {"y": made}, given)
