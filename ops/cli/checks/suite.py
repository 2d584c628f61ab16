"""The suite: what it can compute, and whether a stack answers."""

from collections.abc import Mapping

from ops.cli.checks.finding import Finding, ok, warn
from shared.contracts.errors import SuiteError


def operators() -> Finding:
    """What networks may be made of."""
    from shared.operators.catalog import CATALOG

    return ok("operators", ", ".join(spec.name for spec in CATALOG))


def stack(address: str, state: "Mapping[str, int] | SuiteError") -> Finding:
    """Whether a stack answers at `address`; `state` is workers per class, or why there are none."""
    if isinstance(state, SuiteError):
        return warn("stack", f"none at {address} ({state})", "`ellesmere up` starts one")
    if not state:
        return warn("stack", f"answers at {address}, without workers", "start a cpu-worker")
    workers = ", ".join(f"{count} {name}" for name, count in sorted(state.items()))
    return ok("stack", f"answers at {address} with {workers}")
