"""NIR files of norse, snnTorch and SpikingJelly, and their spikes beside ours, step for step:

    python -m ops.bench.nir_traces

Their files are read by the import as it serves them; what differs is held against the rule that a
library follows, see `nir_rules`. The results go to ops/bench/results.
"""

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ops.bench import machine, nir_rules, rivals
from ops.bench.spiking import PACKAGES, PEER_NAMES
from services.compressor.importers import nir_file
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


class Explained(NamedTuple):
    """A network of a library beside a loop in float64 of the rule that the library follows."""

    library: str
    node: str
    rule: str  # where its step is another than ours by Euler's rule
    apart: int


class Exported(NamedTuple):
    """A network that a library wrote, and what it made of spikes (n, steps, k)."""

    library: str
    version: str
    node: str
    dt: float
    data: bytes
    x: F32
    spikes: nir_rules.Bits


def exported() -> Iterator[Exported]:
    """Every network of every library."""
    python = rivals.environment("spiking", PACKAGES) / "python"
    for library in PEER_NAMES:
        with tempfile.TemporaryDirectory() as folder:
            module = [str(python), "-m", "ops.bench.peers.nir_traces", library, folder]
            subprocess.run(module, check=True, capture_output=True)
            for path in sorted(Path(folder).glob("*.nir")):
                yield _exported(library, path)


def _exported(library: str, path: Path) -> Exported:
    with np.load(path.with_suffix(".npz")) as held:
        return Exported(
            library,
            str(held["version"]),
            str(held["node"]),
            float(held["dt"]),
            path.read_bytes(),
            np.ascontiguousarray(held["x"], np.float32),
            held["train"] > 0,
        )


def trace(one: Exported, rule: str) -> Trace:
    """A network as it is served by a rule, beside what its library made of it."""
    network = _imported(one.data, dt=one.dt, steps=one.x.shape[1], rule=rule)
    answer = execute.load(network, ReferenceBackend()).run({"x": dense(one.x)})
    ours, theirs = answer["train"].values > 0, one.spikes
    return Trace(
        one.library,
        one.version,
        one.node,
        rule,
        spikes=int(theirs.sum()),
        apart=int((ours != theirs).sum()),
        apart_a_step_later=int((ours[:, 1:] != theirs[:, :-1]).sum()),
    )


def explained(one: Exported) -> Explained:
    """A network beside the rule that is known of its library."""
    rule, graph = nir_rules.RULES[one.library, one.node], nir_file.decode(one.data)
    made = nir_rules.spikes(graph, one.x.astype(np.float64), one.dt, rule)
    return Explained(one.library, one.node, rule.words, int((made != one.spikes).sum()))


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


def rules(found: list[Explained]) -> str:
    """A row for each network that follows a rule."""
    head = "| library | node | where its step is another | apart from that rule |\n" + "| --- " * 3
    rows = (f"| {one.library} | {one.node} | {one.rule} | {one.apart} |\n" for one in found)
    return head + "| ---: |\n" + "".join(rows)


def main() -> None:
    """Compare, write the results and show them."""
    networks = list(exported())
    found = [trace(one, rule) for one in networks for rule in RULES]
    known = [explained(one) for one in networks if (one.library, one.node) in nir_rules.RULES]
    parts = {"traces": found, "rules": known}
    lists = (
        f'"{name}": [\n' + ",\n".join(json.dumps(one._asdict()) for one in part) + "\n]"
        for name, part in parts.items()
    )
    head = json.dumps({"machine": machine.facts()})
    RESULTS.write_text(f"{head[:-1]}, {', '.join(lists)}}}\n")
    sys.stdout.write(f"{table(found)}\n{rules(known)}")


if __name__ == "__main__":
    main()
