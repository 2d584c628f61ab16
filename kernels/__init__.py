"""Source text of the OpenCL kernels, found by operator name; nothing here knows a device."""

import re
from functools import cache
from hashlib import sha256
from importlib import resources

FAMILIES: dict[str, tuple[str, ...]] = {
    "dense": ("gemm_f32",),
    "quantized": ("gemm_i8", "gemm_i4", "gemm_int", "gemm_q8"),
    "sparse": (
        "sddmm_csr",
        "spmm_bitmask",
        "spmm_block",
        "spmm_csc",
        "spmm_csr",
        "spmm_nm",
        "spmm_sell",
    ),
    "spiking": (
        "cuba_layer",
        "lif_layer",
        "lif_step",
        "plastic_layer",
        "rate_encode",
        "recurrent_layer",
        "spike_join",
        "spike_pack",
        "spike_rate",
        "spike_unpack",
        "stdp_update",
    ),
    "elementwise": (
        "add",
        "cast",
        "clip",
        "copy",
        "dequantize_i8",
        "mul",
        "quantize_i8",
        "relu",
        "sigmoid",
        "softmax",
        "tanh",
    ),
    "reductions": ("reduce_max", "reduce_mean", "reduce_sum"),
    "shape": ("transpose",),
}
NAMES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)

_INCLUDE = re.compile(r'^#include "(\w+\.cl)"\n', re.M)


@cache
def source(name: str) -> str:
    """OpenCL C 1.2 text of an operator's file. What several share lies in this folder and stands
    in place of the line that includes it: a driver has no folder to look for it.

    Raises:
        ValueError: no kernel has this name.
    """
    for family, names in FAMILIES.items():
        if name in names:
            return _included(_text(family, f"{name}.cl"), f"{name}.cl")
    raise ValueError(f"no kernel is called {name!r}; there are {', '.join(NAMES)}")


@cache
def digest(name: str) -> str:
    """sha256 of the source text, in hex; raises like `source`."""
    return sha256(source(name).encode()).hexdigest()


def _included(text: str, name: str) -> str:
    """The text with what it includes; a compiler still numbers the lines of each file by itself."""

    def inserted(found: re.Match[str]) -> str:
        line = text.count("\n", 0, found.end()) + 1
        shared = _included(_text(found[1]), found[1])
        return f'#line 1 "{found[1]}"\n{shared}#line {line} "{name}"\n'

    return _INCLUDE.sub(inserted, text)


def _text(*path: str) -> str:
    return resources.files("kernels").joinpath(*path).read_text(encoding="utf-8")
