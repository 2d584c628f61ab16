"""Our kernels, the obvious ones, and CLBlast on one OpenCL device; a side of `bench kernels`.

Weights and x stay on the device; a call runs one product and waits for it.
"""

import sys
from collections.abc import Mapping

import numpy as np

from ops.bench import contender, matrices
from ops.bench.contender import Work
from ops.bench.peers.clblast import ClBlast
from ops.bench.peers.naive import Naive
from services.gpu_worker.backend import OpenCLBackend, open_backend
from shared.operators import catalog, validate
from shared.quantization import affine, scheme
from shared.sparse import compressed, convert, narrow
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

UNIFORM = (Layout.CSR, Layout.CSC, Layout.SELL, Layout.BITMASK)
NARROWED = {Layout.CSR, Layout.SELL, Layout.BLOCK, Layout.NM, Layout.BITMASK}


class Side:
    """An open backend, and the calls of the case at hand."""

    def __init__(self, platform: str) -> None:
        self.backend = open_backend(platform)
        self.naive = Naive(self.backend)
        self._held: list[object] = []

    def prepare(self, case: Mapping[str, object]) -> dict[str, Work]:
        """Calls by name; what the last case left on the device is freed."""
        for resident in self._held:
            self.backend.release(resident)  # type: ignore[arg-type]
        self._held.clear()
        if case["kind"] == "sparse":
            with np.load(str(case["file"])) as arrays:
                return self._sparse(dict(arrays))
        if case["kind"] == "limits":
            return self._limits(int(str(case["elements"])))
        return self._dense(*(int(str(case[key])) for key in ("rows", "outputs", "inputs")))

    def _sparse(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Work]:
        calls: dict[str, Work] = {}
        x = arrays["x"]
        for structure, layouts in _STRUCTURES.items():
            matrix = compressed.to_tensor(matrices.read(arrays, structure))
            expected = arrays[f"{structure}.y"]
            for layout in layouts:
                weight = narrow.compact(_laid_out(matrix, layout))
                naive = self.naive.sparse(_laid_out(matrix, layout), x, expected)
                calls |= {f"naive {layout}": Work(naive)} if naive else {}
                for dtype in (
                    (Dtype.F32, Dtype.F16, Dtype.I8) if layout in NARROWED else [Dtype.F32]
                ):
                    narrowed = narrow.narrow(weight, dtype)
                    wanted = compressed.to_scipy(convert.to_csr(narrowed)) @ x
                    work = self._ours(f"spmm_{layout}", {"weight": narrowed, "x": dense(x)}, wanted)
                    calls[f"{layout} {dtype}"] = work
        return calls

    def _dense(self, rows: int, outputs: int, inputs: int) -> dict[str, Work]:
        rng = np.random.default_rng([rows, outputs, inputs])
        x: F32 = rng.standard_normal((rows, inputs), dtype=np.float32)
        weight: F32 = rng.standard_normal((outputs, inputs), dtype=np.float32)
        weight /= np.float32(np.sqrt(inputs))
        i8 = affine.quantize(weight, scheme.INT8_PER_CHANNEL)
        i4 = affine.quantize(weight, scheme.int4_per_group(32))
        calls: dict[str, Work] = {}
        for operator, held in (("gemm_f32", dense(weight)), ("gemm_i8", i8), ("gemm_i4", i4)):
            read = weight if operator == "gemm_f32" else affine.dequantize(held)
            expected = x @ read.T
            calls[operator] = self._ours(operator, {"x": dense(x), "weight": held}, expected)
            calls[f"naive {operator}"] = Work(self.naive.dense(held, x, expected))
        return calls | self._clblast(x, weight, x @ weight.T)

    def _limits(self, elements: int) -> dict[str, Work]:
        """What the device reaches at most: a copy in memory, and multiply-adds on registers."""
        x = self.backend.upload(dense(np.ones(elements, np.float32)))
        self._held.append(x)
        copy = catalog.spec("copy")

        def call() -> None:
            made = self.backend.run(copy, {"x": x}, {})
            self.backend.synchronize()
            self.backend.release(made["y"])

        adds, flops = self.naive.multiply_adds()
        return {"copy": Work(call, 8.0 * elements), "multiply-adds": Work(adds, 0.0, flops)}

    def _clblast(self, x: F32, weight: F32, expected: F32) -> dict[str, Work]:
        try:
            library = ClBlast()
        except OSError:
            sys.stderr.write("CLBlast is not installed (Debian: libclblast1); it is left out\n")
            return {}
        sizes = (x.shape[0], weight.shape[0], x.shape[1])
        call = self.naive.borrowed(library.gemm, sizes, (x, weight), expected)
        return {"clblast gemm": Work(call)}

    def _ours(self, operator: str, inputs: Mapping[str, Tensor], expected: F32) -> Work:
        """One product with everything resident, checked once."""
        backend, spec = self.backend, catalog.spec(operator)
        held = {port: backend.upload(tensor) for port, tensor in inputs.items()}
        self._held += held.values()

        def call() -> None:
            made = backend.run(spec, held, {})
            backend.synchronize()
            backend.release(made["y"])

        made = backend.run(spec, held, {})
        y = backend.download(made["y"]).values
        backend.release(made["y"])
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3, err_msg=operator)
        types = {port: tensor.type for port, tensor in inputs.items()}
        cost = spec.cost(types, validate.complete(spec, {}))
        return Work(call, cost.bytes, cost.flops, float(inputs["x"].nbytes + y.nbytes))


_STRUCTURES = {"uniform": UNIFORM, "block": (Layout.BLOCK,), "nm": (Layout.NM,)}


def _laid_out(matrix: Tensor, layout: Layout) -> Tensor:
    return convert.to_layout(matrix, layout, block=(matrices.BLOCK, matrices.BLOCK))


def facts(backend: OpenCLBackend) -> dict[str, str]:
    """The device under every call."""
    return {"device": backend.device.name, "driver": backend.device.driver}


if __name__ == "__main__":
    side = Side(sys.argv[1])
    contender.serve(side.prepare, lambda: facts(side.backend))
