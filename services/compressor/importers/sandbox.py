"""Turn a network file into an artifact in a child process, so that a hostile file harms nobody."""

import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anyio

from services.compressor.importers.convert import LENGTH
from shared.contracts import errors
from shared.contracts.errors import InvalidNetwork, TooLarge

MAX_BYTES = 512 * 2**20  # of a network file
MAX_SECONDS = 120.0  # of wall clock; the child's own limit of CPU time comes first
_ROOT = Path(__file__).parents[3]
_CHILD = "services.compressor.importers.convert"


class Converted(NamedTuple):
    """The artifact of a network and what of its file went into it."""

    artifact: bytes
    operators: Mapping[str, int]  # of the file, with counts
    coverage: Mapping[str, object]  # coverage.Coverage.to_json


async def convert(
    data: bytes,
    format_: str = "onnx",
    *,
    dt: float = 1e-3,
    steps: int = 100,
    rule: str = "exact",
) -> Converted:
    """Convert the bytes of a network file.

    Args:
        format_: `onnx`, `nir`, or `safetensors` for a stored network of ours.
        dt: length of a step of a spiking network [s].
        steps: of a call of it.
        rule: by which its equations are solved over a step, exact or euler.

    Raises:
        TooLarge: over `MAX_BYTES`.
        InvalidNetwork: the file is broken, hostile, or took too much memory or time to read.
        UnsupportedOperator: names every node without a counterpart.
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(f"the file has {len(data)} bytes, over the limit of {MAX_BYTES}")
    with tempfile.TemporaryDirectory() as empty:
        await anyio.Path(empty).chmod(0o500)
        try:
            with anyio.fail_after(MAX_SECONDS):
                done = await anyio.run_process(
                    [sys.executable, "-P", "-m", _CHILD, format_, repr(dt), str(steps), rule],
                    input=data,
                    check=False,
                    cwd=empty,
                    env={"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
                )
        except TimeoutError:
            raise InvalidNetwork(f"reading the file took over {MAX_SECONDS} s") from None
    if done.returncode != 0:
        raise InvalidNetwork(_why(done.returncode, done.stderr))
    return _read(done.stdout)


def _read(answer: bytes) -> Converted:
    (length,) = LENGTH.unpack_from(answer)
    start = LENGTH.size
    head = json.loads(answer[start : start + length])
    if "code" in head:
        raise errors.catalogue()[head["code"]](head["message"])
    coverage = head["coverage"]
    return Converted(answer[start + length :], coverage["operators"], coverage)


def _why(status: int, stderr: bytes) -> str:
    """What a child that gave no answer died of."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "reading the file took more CPU time or memory than a file may"
    last = stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    return f"the parser stopped with status {status}: {last[:200]}"
