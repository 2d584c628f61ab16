"""Products by ONNX Runtime, one session per weight: the rivals of our kernels, see `choice`.

Its kernels use what this processor has beyond vectors (tile registers, where the system shows
them), so they win for batches on some machines.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.cpu_worker.integer import onnx_model
from shared.tensors.dtypes import F32, I8, U8, Array

OFFSET = 128  # u8 times s8 is the pair with kernels of its own; x is moved there and back by this
SIGNS = np.uint8(0x88)  # turned over, two signed codes in a byte are unsigned, larger by 8
BLOCKS = (16, 32, 64, 128, 256)  # columns of a group that MatMulNBits takes
AS_FLOAT = 1  # accuracy_level: products and sums in float32


@dataclass(frozen=True, slots=True, eq=False)
class OnnxProduct:
    """A weight in a session."""

    session: Any
    moved: bool  # whether x is bytes that the session wants without a sign

    def multiply(self, x: Array) -> Any:
        """x Wᵀ: int32 for bytes, float32 for float32.

        Args:
            x: (n, cols) int8 or float32, as the session was made for.

        Raises:
            SessionFailed: the library refuses.
        """
        held = np.ascontiguousarray(x)
        if self.moved:
            held = held.view(np.uint8) ^ np.uint8(OFFSET)
        with onnx_model.named_failures():
            return self.session.run(None, {"x": held})[0]


def of_octets(codes: I8, *, threads: int) -> OnnxProduct:
    """Exact products of bytes, by MatMulInteger.

    Args:
        codes: (rows, cols) int8.
        threads: that share a product.

    Raises:
        SessionFailed: the library is absent or refuses.
    """
    rows, cols = codes.shape
    weights = {"w": np.ascontiguousarray(codes.T), "z": np.array(OFFSET, np.uint8)}
    model = onnx_model.model("MatMulInteger", weights, ("uint8", cols), ("int32", rows))
    return OnnxProduct(onnx_model.session(model, threads=threads), moved=True)


def of_nibbles(codes: U8, scale: F32, *, threads: int) -> OnnxProduct:
    """Products of float32 rows with signed codes of four bits, by MatMulNBits.

    Args:
        codes: (rows, cols / 2) uint8, even columns in the low nibbles.
        scale: (rows, groups) float32; a group has one of BLOCKS columns.
        threads: that share a product.

    Raises:
        SessionFailed: the library is absent or refuses.
    """
    rows, groups = scale.shape
    cols = 2 * codes.shape[1]
    block = cols // groups
    weights = {"w": (codes ^ SIGNS).reshape(rows, groups, block // 2), "s": scale}
    sizes = {"K": cols, "N": rows, "bits": 4, "block_size": block, "accuracy_level": AS_FLOAT}
    model = onnx_model.model("MatMulNBits", weights, ("float32", cols), ("float32", rows), sizes)
    return OnnxProduct(onnx_model.session(model, threads=threads), moved=False)
