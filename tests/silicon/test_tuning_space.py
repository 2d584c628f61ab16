"""What tuning may choose on a card fits the card: each field's values, one at a time."""

from functools import cache

import pytest

from ops.bench.silicon import compiler, report
from ops.bench.silicon.assembly import Built, read
from ops.bench.silicon.compiler import GFX803
from ops.bench.silicon.configuration import Configuration
from services.gpu_worker.limits import Limits
from services.gpu_worker.tuned import problems, space
from services.gpu_worker.tuning import CARD
from shared.operators.catalog import CATALOG
from tests.opencl import recorded

TUNED = [spec.name for spec in CATALOG if problems.of(spec.name)]


def configurations(operator: str) -> dict[str, Configuration]:
    """Kernels that one changed field comes to and that are not shipped as they are."""
    shipped = {found.label for found in report.configurations()}
    found: dict[str, Configuration] = {}
    for problem in problems.of(operator)[:4]:  # every batch size, and one of codes
        for field in space.of(operator).fields:
            for value in field.candidates(CARD):
                values = space.without_defaults(CARD, {field.name: value})
                if space.refuses(operator, CARD, values) is None:
                    for made in recorded.launches(problem, space.applied(CARD, values)):
                        kernel = Configuration(made.operator, made.entry, made.defines)
                        found[kernel.label] = kernel
    return {label: kernel for label, kernel in found.items() if label not in shipped}


@cache
def built(operator: str) -> dict[str, Built]:
    wanted = configurations(operator)
    made = compiler.assemble_all(wanted.values(), GFX803)
    return {label: read(str(text), wanted[label].entry) for label, text in made.items()}


@pytest.mark.parametrize("operator", TUNED)
def test_every_value_fits_the_card(operator: str) -> None:
    for label, kernel in built(operator).items():
        assert (kernel.scratch_bytes, kernel.spills) == (0, 0), label
        assert kernel.vector_registers <= space.REGISTERS, label
        Limits().check_kernel(label, group=kernel.group, local_bytes=kernel.local_bytes)
