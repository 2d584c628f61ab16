"""NIR files of norse, snnTorch and SpikingJelly, and their spikes beside ours, step for step:

    python -m ops.bench.nir_traces

Their files are read by the import as it serves them. The results go to ops/bench/results.
"""

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ops.bench import machine, rivals
from ops.bench.spiking import PACKAGES, PEER_NAMES
from shared.network import artifact, execute
from shared.network.graph import Network
from shared.operators.reference import ReferenceBackend
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

RESULTS = Path(__file__).parent / "results" / "nir_traces.json"
RULES = ("euler", "exact")
LENGTH = struct.Struct("<Q")  # of the head of what the import answers


class Trace(NamedTuple):
    """A network of a library beside ours, by one rule."""

    library: str
    version: str
    node: str
    rule: str
    spikes: int  # theirs
    apart: int  # steps of neurons in which only one side spiked
    apart_a_step_later: int  # the same, if ours are compared with what theirs did a step before


def traces() -> list[Trace]:
    """Every network of every library by both rules."""
    python = rivals.environment("spiking", PACKAGES) / "python"
    found = []
    for library in PEER_NAMES:
        with tempfile.TemporaryDirectory() as folder:
            module = [str(python), "-m", "ops.bench.peers.nir_traces", library, folder]
            subprocess.run(module, check=True, capture_output=True)
            for path in sorted(Path(folder).glob("*.nir")):
                found += [_trace(library, path, rule) for rule in RULES]
    return found


def _trace(library: str, path: Path, rule: str) -> Trace:
    with np.load(path.with_suffix(".npz")) as held:
        x: F32 = np.ascontiguousarray(held["x"], np.float32)
        theirs = held["train"] > 0
        node, version, dt = str(held["node"]), str(held["version"]), float(held["dt"])
    network = _imported(path.read_bytes(), dt=dt, steps=x.shape[1], rule=rule)
    answer = execute.load(network, ReferenceBackend()).run({"x": dense(x)})
    ours = answer["train"].values > 0
    return Trace(
        library,
        version,
        node,
        rule,
        spikes=int(theirs.sum()),
        apart=int((ours != theirs).sum()),
        apart_a_step_later=int((ours[:, 1:] != theirs[:, :-1]).sum()),
    )


def _imported(data: bytes, *, dt: float, steps: int, rule: str) -> Network:
    """What the import makes of a file, in its own process.

    Raises:
        ValueError: it refuses the file; says why.
    """
    module = "services.compressor.importers.convert"
    command = [sys.executable, "-m", module, "nir", repr(dt), str(steps), rule]
    answer = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    (length,) = LENGTH.unpack_from(answer)
    start = LENGTH.size + length
    if len(answer) == start:
        raise ValueError(answer[LENGTH.size :].decode())
    return artifact.unpack(answer[start:])


def table(found: list[Trace]) -> str:
    """A row for each network and rule."""
    head = "| library | node | rule | spikes | apart | apart a step later |\n" + "| --- " * 3
    rows = (
        f"| {one.library} {one.version} | {one.node} | {one.rule} | {one.spikes} | {one.apart} | "
        f"{one.apart_a_step_later} |\n"
        for one in found
    )
    return head + "| ---: " * 3 + "|\n" + "".join(rows)


def main() -> None:
    """Compare, write the results and show them."""
    found = traces()
    rows = ",\n".join(json.dumps(one._asdict()) for one in found)
    head = json.dumps({"machine": machine.facts()})
    RESULTS.write_text(f'{head[:-1]}, "traces": [\n{rows}\n]}}\n')
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
