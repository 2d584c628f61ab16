"""The dense weights of `bench quantized`, the same on every side; needs numpy alone."""

from collections.abc import Mapping

import numpy as np

GROUP = 32  # columns that share a scale of four bits, as MatMulNBits has them


def values(size: int) -> np.ndarray:
    """(size, size) float32, with row sums of about one."""
    rng = np.random.default_rng([size, 1])
    made = rng.standard_normal((size, size), dtype=np.float32)
    made /= np.float32(np.sqrt(size))
    return made


def x(case: Mapping[str, object]) -> np.ndarray:
    """(rows, size) float32."""
    rows, size = number(case, "rows"), number(case, "size")
    rng = np.random.default_rng([size, rows, 2])
    return rng.standard_normal((rows, size), dtype=np.float32)


def octets(case: Mapping[str, object]) -> np.ndarray:
    """`x` as bytes, (rows, size) int8, of one scale for all."""
    return np.clip(np.rint(x(case) * np.float32(32)), -127, 127).astype(np.int8)


def codes(weight: np.ndarray, bits: int, group: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Round to nearest, symmetric: codes (rows, cols) int8 and scales (rows, groups) float32."""
    rows, cols = weight.shape
    top = 2 ** (bits - 1) - 1
    grouped = weight.reshape(rows, -1, group or cols)
    scale = np.abs(grouped).max(axis=-1) / np.float32(top)
    rounded = np.rint(grouped / scale[..., np.newaxis])
    return rounded.astype(np.int8).reshape(rows, cols), scale


def number(case: Mapping[str, object], name: str) -> int:
    """A number of a case."""
    value = case[name]
    assert isinstance(value, int)
    return value
