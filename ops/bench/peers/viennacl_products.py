"""ViennaCL's products of sparse matrices on OpenCL; a side of `bench kernels`.

Compiles viennacl_products.cpp once (Debian: libviennacl-dev, ocl-icd-opencl-dev, g++). The platform
is the only one that the environment variable OCL_ICD_VENDORS leaves visible.
"""

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ops.bench import contender
from ops.bench.contender import Work

SOURCE = Path(__file__).with_name("viennacl_products.cpp")
HEADER = Path("/usr/include/viennacl/version.hpp")


def library(folder: Path) -> ctypes.CDLL:
    """The compiled functions; built when they are not in the folder yet."""
    built = folder / "viennacl_products.so"
    if not built.exists() or built.stat().st_mtime < SOURCE.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["g++", "-O2", "-w", "-shared", "-fPIC", "-std=c++14", str(SOURCE)]
        subprocess.run([*command, "-o", str(built), "-lOpenCL"], check=True)
    held = ctypes.CDLL(str(built))
    held.device.restype = ctypes.c_char_p
    return held


def facts() -> dict[str, str]:
    """Version of what is measured."""
    defines = [line.split() for line in HEADER.read_text().splitlines() if "_VERSION" in line]
    numbers = {words[1]: words[2] for words in defines if len(words) == 3}
    parts = (numbers.get(f"VIENNACL_{part}_VERSION", "?") for part in ("MAJOR", "MINOR", "PATCH"))
    return {"viennacl": ".".join(parts)}


def main(folder: Path) -> None:
    """Serve the comparison."""
    held = library(folder)

    def prepare(case: Mapping[str, object]) -> dict[str, Work]:
        if case["kind"] != "sparse":
            return {}
        with np.load(str(case["file"])) as arrays:
            x, (rows, cols) = np.ascontiguousarray(arrays["x"]), arrays["shape"]
            indptr, indices = (arrays[f"uniform.{p}"].astype("u4") for p in ("indptr", "indices"))
            values, expected = arrays["uniform.values"], arrays["uniform.y"]
        n = x.shape[1]
        sizes = (int(rows), int(cols), values.size, n)
        held.prepare(*sizes, *map(_pointer, (indptr, indices, values, x)))
        y = np.empty((int(rows), n), np.float32)
        held.multiply()
        held.read(_pointer(y))
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
        return {"csr": Work(held.multiply)}

    contender.serve(prepare, facts)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
