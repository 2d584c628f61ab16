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


PRELUDE = "prelude.cl"
_INCLUDE = f'#include "{PRELUDE}"\n'


@cache
def source(name: str) -> str:
    """OpenCL C 1.2 text of an operator's file, the prelude in place of the line that includes it:
    a driver has no folder to look for it.

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
    """The text with the prelude; a compiler still numbers the lines of either file by itself."""
    before, include, after = text.partition(_INCLUDE)
    if not include:
        return text
    line = before.count("\n") + 2
    return f'{before}#line 1 "{PRELUDE}"\n{_text(PRELUDE)}#line {line} "{name}"\n{after}'


def _text(*path: str) -> str:
    return resources.files("kernels").joinpath(*path).read_text(encoding="utf-8")
