"""Who may import whom, held as data. A breach is reported as path:line."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Package -> the packages of ours that it may import; itself is always allowed.
MATHS = {"shared.tensors"}
OPERATORS = MATHS | {
    "shared.quantization",
    "shared.pruning",
    "shared.sparse",
    "shared.spiking",
}
EVERYTHING = {"shared"}
ALLOWED: dict[str, set[str]] = {
    "shared.tensors": set(),
    "shared.quantization": MATHS,
    "shared.pruning": MATHS,
    "shared.sparse": MATHS,
    "shared.spiking": MATHS,
    "shared.operators": OPERATORS,
    "shared.network": OPERATORS | {"shared.operators"},
    "shared.placement": OPERATORS | {"shared.operators", "shared.network"},
    "shared.contracts": MATHS,
    "shared.bus": {"shared.contracts"},
    "shared.client": {"shared.contracts", "shared.tensors"},
    "shared.chassis": {
        "shared.tensors",
        "shared.operators",
        "shared.network",
        "shared.contracts",
        "shared.bus",
    },
    "services.gateway": EVERYTHING,
    "services.scheduler": EVERYTHING,
    "services.profiler": EVERYTHING,
    "services.compressor": EVERYTHING,
    "services.gpu_worker": EVERYTHING | {"kernels"},
    "services.cpu_worker": EVERYTHING,
    "kernels": set(),
    # Benchmarks of decisions, of CPU products and of kernels run in process, as do comparisons of
    # NIR files that a person has.
    "ops": {
        "shared",
        "ops",
        "kernels",
        "services.scheduler",
        "services.compressor",
        "services.cpu_worker",
        "services.gpu_worker",
    },
}

# Third-party package -> the folders of ours that may import it.
OWNERS: dict[str, tuple[str, ...]] = {
    "nats": ("shared/bus", "ops/demo"),  # the demo shows a client that knows only nats-py
    "pyopencl": ("services/gpu_worker", "ops/bench/peers"),  # rivals run on the same device
    "grpc": ("services/gateway", "shared/client"),
    "grpc_health": ("services/gateway", "shared/client"),
    "grpc_reflection": ("services/gateway",),
    "hpack": ("services/gateway/http2",),
    "onnx": ("services/compressor/importers", "services/compressor/exporters", "ops"),
    "onnxruntime": ("services/cpu_worker", "ops/bench/peers"),  # rivals are measured beside it
    "nir": (
        "services/compressor/importers",
        "services/compressor/exporters",
        "ops/bench",  # other simulators write files of it, and follow rules of their own
    ),
    "h5py": ("services/compressor/importers",),
    "safetensors": ("shared/tensors", "ops"),
    "prometheus_client": ("services/gateway",),
    "numba": ("services/cpu_worker",),
    "llvmlite": ("services/cpu_worker",),
}

# The mathematics side imports these and the standard library, nothing else.
PURE = ("tensors", "quantization", "pruning", "sparse", "spiking", "operators", "network")
PURE_LIBRARIES = {"numpy", "scipy", "safetensors"}
IMPURE_MODULES = {"logging", "time", "random", "os", "asyncio", "threading", "subprocess"}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "pb" not in path.parts]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module, also those inside functions; relative imports count as '.'."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield ("." * node.level + module if node.level else module, node.lineno)
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:2]) if parts[0] in ("shared", "services") else parts[0]


def is_ours(module: str) -> bool:
    return module.split(".")[0] in ("shared", "services", "kernels", "ops", "tests")


def permitted(package: str, module: str) -> bool:
    names = ALLOWED[package] | {package}
    return any(module == name or module.startswith(name + ".") for name in names)


def breaches_of_table(path: Path) -> Iterator[str]:
    package = package_of(path)
    for module, line in imports(path):
        whole = module in ("shared", "services")  # `from shared import x` is judged by its names
        if is_ours(module) and not whole and not permitted(package, module):
            yield f"{path.relative_to(ROOT)}:{line} {package} imports {module}"


def test_every_import_follows_the_table() -> None:
    files = [p for p in sources("shared", "services", "kernels", "ops") if len(p.parts) > 1]
    packaged = [path for path in files if package_of(path) in ALLOWED]

    breaches = [breach for path in packaged for breach in breaches_of_table(path)]

    assert packaged
    assert breaches == []


def test_the_table_names_every_package() -> None:
    folders = {package_of(p / "x.py") for p in (ROOT / "shared").iterdir() if p.is_dir()}
    folders |= {package_of(p / "x.py") for p in (ROOT / "services").iterdir() if p.is_dir()}

    missing = {name for name in folders if "__pycache__" not in name} - ALLOWED.keys()

    assert missing == set()


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_third_party_library_has_one_owner(library: str) -> None:
    owners = OWNERS[library]

    breaches = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources("shared", "services", "kernels", "ops")
        for module, line in imports(path)
        if module.split(".")[0] == library
        and not str(path.relative_to(ROOT)).startswith(tuple(f"{owner}/" for owner in owners))
    ]

    assert breaches == []


@pytest.mark.parametrize("package", PURE)
def test_mathematics_imports_numpy_and_scipy_alone(package: str) -> None:
    breaches = []
    for path in sources(f"shared/{package}"):
        for module, line in imports(path):
            top = module.split(".")[0]
            if is_ours(module) or top in PURE_LIBRARIES:
                continue
            if top in IMPURE_MODULES or top not in sys.stdlib_module_names:
                breaches.append(f"{path.relative_to(ROOT)}:{line} imports {module}")

    assert breaches == []


def test_environment_is_read_in_one_place() -> None:
    allowed = {"shared/chassis/settings.py"}
    breaches = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("shared", "services")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and str(path.relative_to(ROOT)) not in allowed
    ]

    assert breaches == []
