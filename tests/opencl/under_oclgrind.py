"""Run every kernel on small edge shapes; started by test_oclgrind.py under oclgrind.

Both ways of cutting products and rows are run: a card's and a processor's; other kernels know only
one. A population that reads itself is stepped by one group, and then by all. Results are held
against the reference too, so that a silent simulator does not count as a clean one.
"""

import re
import sys
from collections.abc import Iterator

import numpy as np

from services.gpu_worker import tuning
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import open_device
from services.gpu_worker.launch import recurrent
from shared.operators import samples, sparse_cases
from shared.operators.catalog import CATALOG
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Case, OperatorSpec

GROUPS = 67  # columns of x: a group of 64 and a part of one
CUT = re.compile(r"gemm|mm_|reduce|softmax|recurrent")  # operators that have kernels of both ways
MOST_ELEMENTS = 3000  # of all inputs of a case together: the simulator is slow


def cases(spec: OperatorSpec) -> Iterator[Case]:
    """The small ones; of the casts, whose kernels differ by source type, each type once."""
    seen = set()
    for case in spec.cases(np.random.default_rng(1)):
        kind = case.inputs["x"].dtype if spec.name == "cast" else case.name
        if kind not in seen and sum(t.size for t in case.inputs.values()) <= MOST_ELEMENTS:
            seen.add(kind)
            yield case
    if spec.name.startswith("spmm"):
        yield many_columns(spec)


def many_columns(spec: OperatorSpec) -> Case:
    """So few rows that there is room for more columns of x than a group has work-items."""
    layout = spec.inputs[0].layout
    rng = np.random.default_rng(2)
    weight = sparse_cases.weight(rng, layout, 18, 21, 0.3)
    return Case("many_columns", {"weight": weight, "x": samples.normal(rng, 21, GROUPS)})


def run(backend: OpenCLBackend, spec: OperatorSpec, case: Case) -> None:
    residents = {port: backend.upload(tensor) for port, tensor in case.inputs.items()}
    outputs = backend.run(spec, residents, case.attributes)
    for port, expected in ReferenceBackend().run(spec, case.inputs, case.attributes).items():
        np.testing.assert_allclose(
            backend.download(outputs[port]).values.astype(np.float64),
            expected.values.astype(np.float64),
            rtol=max(spec.tolerance.rtol, 1e-6),  # the simulator's arithmetic is the host's
            atol=max(spec.tolerance.atol, 1e-6),
            err_msg=f"{spec.name} {case.name}",
        )
    for resident in (*residents.values(), *outputs.values()):
        backend.release(resident)


def main(which: str) -> None:
    """Run everything as a card does, or as a processor what a processor does otherwise."""
    card = which == "card"
    tuned = tuning.CARD if card else tuning.PROCESSOR
    backend = OpenCLBackend(open_device("oclgrind"), None, tuned)
    recurrent._is_wide = lambda run: not card
    count = 0
    for spec in CATALOG:
        for case in cases(spec) if card or CUT.search(spec.name) else ():
            run(backend, spec, case)
            count += 1
    sys.stdout.write(f"{count} calls\n")


if __name__ == "__main__":
    main(sys.argv[1])
