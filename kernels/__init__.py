"""Source text of the OpenCL kernels, found by operator name; nothing here knows a device."""

from functools import cache
from hashlib import sha256
from importlib import resources

FAMILIES: dict[str, tuple[str, ...]] = {
    "dense": ("gemm_f32",),
    "quantized": ("gemm_i8",),
    "sparse": ("spmm_csr",),
    "spiking": ("lif_step", "stdp_update"),
    "elementwise": (
        "add",
        "cast",
        "clip",
        "copy",
        "mul",
        "relu",
        "sigmoid",
        "softmax",
        "tanh",
    ),
    "shape": ("transpose",),
}
NAMES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)


@cache
def source(name: str) -> str:
    """OpenCL C 1.2 text of an operator's file.

    Raises:
        ValueError: no kernel has this name.
    """
    for family, names in FAMILIES.items():
        if name in names:
            file = resources.files("kernels").joinpath(family, f"{name}.cl")
            return file.read_text(encoding="utf-8")
    raise ValueError(f"no kernel is called {name!r}; there are {', '.join(NAMES)}")


@cache
def digest(name: str) -> str:
    """sha256 of the source text, in hex; raises like `source`."""
    return sha256(source(name).encode()).hexdigest()
