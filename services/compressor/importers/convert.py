"""The sandbox's child: one network file on stdin, one answer on stdout, and nothing else allowed.

Its arguments are the format of the file, and for spiking networks the length of a step [s],
the steps of a call, and the rule by which equations are solved over a step.

The answer is ``u64 head bytes, little endian | JSON head | artifact``; the head holds either
`coverage` or the `code` and `message` of an error.
"""

import json
import resource
import struct
import sys
from typing import TYPE_CHECKING, cast

from shared.contracts.errors import InvalidNetwork, SuiteError

if TYPE_CHECKING:
    from services.compressor.importers.coverage import Coverage
    from services.compressor.importers.nir_neurons import Rule
    from shared.network.graph import Network

MEMORY = 4 * 2**30  # bytes of address space; a file of 512 MiB needs about five times its size
CPU_SECONDS = 60
LENGTH = struct.Struct("<Q")


def main() -> None:
    """Give up rights, then read, convert and answer."""
    _limit()
    head, artifact = _answer(sys.stdin.buffer.read(), *sys.argv[1:5])
    text = json.dumps(head).encode()
    sys.stdout.buffer.write(LENGTH.pack(len(text)) + text)
    sys.stdout.buffer.write(artifact)


def _answer(
    data: bytes, format_: str, dt: str = "0.001", steps: str = "100", rule: str = "exact"
) -> tuple[dict[str, object], bytes]:
    # Imported under the limits: the parser's own start-up counts against them.
    from shared.network import artifact

    try:
        network, coverage = _read(data, format_, float(dt), int(steps), rule)
        return {"coverage": coverage.to_json()}, artifact.pack(network)
    except SuiteError as error:
        return {"code": error.code, "message": str(error)}, b""
    except MemoryError:
        message = f"reading it needs more than {MEMORY} bytes of memory"
        return {"code": InvalidNetwork.code, "message": message}, b""


def _read(
    data: bytes, format_: str, dt: float, steps: int, rule: str
) -> "tuple[Network, Coverage]":
    if format_ == "safetensors":
        from services.compressor.importers import stored

        return stored.decode(data)
    if format_ == "nir":
        from services.compressor.importers import nir_file, nir_populations

        graph = nir_file.decode(data)
        known = cast("Rule", rule)  # our own argument, checked in the job's body
        return nir_populations.translate(graph, dt=dt, steps=steps, rule=known)
    from services.compressor.importers import onnx_file, onnx_graph

    return onnx_graph.translate(onnx_file.decode(data))


def _limit() -> None:
    """Write no file, start no child, bounded memory and time; hard, so there is no way back."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
