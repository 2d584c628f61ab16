"""CLBlast's dense products on buffers and a queue of pyopencl, through its C interface."""

import ctypes
from typing import Any

ROW_MAJOR, NOT_TURNED, TURNED = 101, 111, 112
SONAME = "libclblast.so.1"  # Debian: libclblast1


class ClBlast:
    """The library, if it is installed.

    Raises:
        OSError: it is not.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(SONAME)

    def gemm(self, queue: Any, sizes: tuple[int, int, int], buffers: tuple[Any, Any, Any]) -> None:
        """y = x Wᵀ for x (n, k), W (m, k), y (n, m); sizes are n, m, k; waits until it is done.

        One row of x is a product with a vector, for which CLBlast has a routine of its own.

        Raises:
            RuntimeError: CLBlast refuses.
        """
        n, m, k = sizes
        x, weight, y = (ctypes.c_void_p(buffer.int_ptr) for buffer in buffers)
        handle = ctypes.c_void_p(queue.int_ptr)
        one, zero, none = ctypes.c_float(1.0), ctypes.c_float(0.0), ctypes.c_size_t(0)
        if n == 1:
            status = self._library.CLBlastSgemv(
                *(ROW_MAJOR, NOT_TURNED, ctypes.c_size_t(m), ctypes.c_size_t(k), one),
                *(weight, none, ctypes.c_size_t(k), x, none, ctypes.c_size_t(1), zero),
                *(y, none, ctypes.c_size_t(1), ctypes.byref(handle), None),
            )
        else:
            status = self._library.CLBlastSgemm(
                *(ROW_MAJOR, NOT_TURNED, TURNED, *map(ctypes.c_size_t, (n, m, k)), one),
                *(x, none, ctypes.c_size_t(k), weight, none, ctypes.c_size_t(k), zero),
                *(y, none, ctypes.c_size_t(m), ctypes.byref(handle), None),
            )
        if status:
            raise RuntimeError(f"CLBlast answers with status {status}")
        queue.finish()
