"""Element types: one name each, their width, and the numpy type that holds them."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
Array = npt.NDArray[np.generic]


class Dtype(StrEnum):
    """The type of one element of a tensor. BF16 is held as the upper 16 bits of a float32."""

    BOOL = "bool"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The little-endian numpy type of the storage."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _NUMPY[self].itemsize


_NUMPY: dict[Dtype, np.dtype[np.generic]] = {
    Dtype.BOOL: np.dtype("?"),
    Dtype.U8: np.dtype("u1"),
    Dtype.U16: np.dtype("<u2"),
    Dtype.U32: np.dtype("<u4"),
    Dtype.U64: np.dtype("<u8"),
    Dtype.I8: np.dtype("i1"),
    Dtype.I16: np.dtype("<i2"),
    Dtype.I32: np.dtype("<i4"),
    Dtype.I64: np.dtype("<i8"),
    Dtype.F16: np.dtype("<f2"),
    Dtype.BF16: np.dtype("<u2"),
    Dtype.F32: np.dtype("<f4"),
    Dtype.F64: np.dtype("<f8"),
}
_FROM_NUMPY = {held: name for name, held in _NUMPY.items() if name is not Dtype.BF16}


def of(array: npt.NDArray[np.generic]) -> Dtype:
    """Return the Dtype that stores `array`.

    Raises:
        ValueError: the array holds objects, strings, complex numbers or big-endian values.
    """
    try:
        return _FROM_NUMPY[array.dtype]
    except KeyError:
        known = ", ".join(Dtype)
        raise ValueError(f"no element type for numpy {array.dtype}; known: {known}") from None
