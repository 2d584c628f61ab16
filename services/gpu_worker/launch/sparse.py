"""Launches of products with sparse weights, and of dense ones sampled by a sparse pattern."""

from dataclasses import dataclass, field

import pyopencl as cl

from services.gpu_worker.launch import cuts, shape
from services.gpu_worker.launch.call import Call
from services.gpu_worker.launch.cuts import Cut
from services.gpu_worker.programs import Defines
from services.gpu_worker.resident import DeviceTensor
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

BITS = {Dtype.F32: 32, Dtype.F16: 16, Dtype.I8: 8}  # of a stored value
WORD = 32  # columns of a word of a bitmask
RUN = 8  # elements of an N:M row that the kernels decode together
PLACES = 16  # of a SELL slice that a processor's work-item takes at once
QUAD = 4  # elements of one load


@dataclass(frozen=True, slots=True)
class Form:
    """What the launches of one layout differ in."""

    parts: tuple[str, ...]  # of the weight, in the kernels' order
    share: int  # loads that a row of the weight takes, for work-items to share
    indices: str | None = None  # the part whose type is that of indices
    defines: Defines = field(default_factory=dict)
    batches: tuple[int, ...] | None = None  # columns per work-item; None: what the device likes
    places: int = 1  # rows that a work-item for few columns takes


def spmm_csr(call: Call) -> None:
    """Few columns: work-items share a row. Many: each takes several columns of one row."""
    parts = ("indptr", "indices", "values")
    _product(call, "spmm_csr", Form(parts, _quads(call), "indices", batches=_batches(call)))


def spmm_csc(call: Call) -> None:
    """As spmm_csr: the elements were put in order of their rows when they were uploaded."""
    parts = ("row_ptr", "columns", "values")
    _product(call, "spmm_csc", Form(parts, _quads(call), "columns", batches=_batches(call)))


def spmm_sell(call: Call) -> None:
    """Few columns: a work-item per row, neighbours reading neighbours. Many: as spmm_csr."""
    lanes = call.gpu.tuning.lanes
    parts = ("starts", "lengths", "order", "indices", "values")
    form = Form(parts, share=1, indices="indices", places=1 if lanes > 1 else PLACES)
    _product(call, "spmm_sell", form)


def spmm_bitmask(call: Call) -> None:
    """Few columns: work-items share the words of a row. Many: as spmm_csr."""
    words = -(-call.inputs["weight"].shape[1] // WORD)
    _product(call, "spmm_bitmask", Form(("words", "starts", "values"), words))


def spmm_nm(call: Call) -> None:
    """Few columns: work-items share the runs of a row. Many: as spmm_csr."""
    weight = call.inputs["weight"]
    n, m = weight.parts["pattern"].shape
    runs = weight.parts["positions"].shape[1]
    _product(call, "spmm_nm", Form(("positions", "values"), runs, defines={"N": n, "M": m}))


def spmm_block(call: Call) -> None:
    """Few columns: work-items share a row of blocks. Many: each takes several rows of a block."""
    weight = call.inputs["weight"]
    _, down, across = weight.parts["values"].shape
    form = Form(
        ("indptr", "indices", "values"),
        share=-(-across // QUAD),
        indices="indices",
        defines={"BLOCK_ROWS": down, "BLOCK_COLS": across},
        batches=call.gpu.tuning.block_batches,
    )
    if _is_narrow(call):
        _few(call, "spmm_block", form)
        return
    tuning, n = call.gpu.tuning, _columns(call)
    tall = _divisor(down, tuning.tall if not cuts.uniform(tuning, n) else tuning.uniform_tall)
    chunks = -(-weight.shape[0] // down) * (down // tall)
    cut = cuts.wide(tuning, chunks, n, tuning.block_vecs(n))
    _many(call, "spmm_block", form, Cut({**cut.defines, "TALL": tall}, cut.items, cut.groups))


def sddmm_csr(call: Call) -> None:
    """A group per row on a card, a work-item per row on a processor."""
    pattern, (rows, k) = call.inputs["pattern"], call.inputs["a"].shape
    tuning = call.gpu.tuning
    lanes = cuts.near(tuning.lanes_per_row, -(-k // QUAD)) if tuning.lanes > 1 else 1
    defines = {
        "LANES": lanes,
        "INDEX": _bits(pattern, "indices"),
        "WORDS": int(tuning.words),
        "VEC": tuning.vec,
        "ALIGNED": int(tuning.aligned and k % tuning.vec == 0),
    }
    kernel = call.gpu.programs.kernel("sddmm_csr", defines)
    kernel.launch(
        rows * (kernel.group if lanes > 1 else 1),
        *(rows, k),
        *(call.buffer("pattern", part) for part in ("indptr", "indices")),
        call.buffer("a"),
        call.buffer("b"),
        call.output("values"),
    )


def _product(call: Call, name: str, form: Form) -> None:
    if _is_narrow(call):
        _few(call, name, form)
        return
    tuning, n = call.gpu.tuning, _columns(call)
    vecs = tuning.uniform_vecs if cuts.uniform(tuning, n) else tuning.column_vecs
    _many(call, name, form, cuts.wide(tuning, call.inputs["weight"].shape[0], n, vecs))


def _few(call: Call, name: str, form: Form) -> None:
    """The kernel for few columns, which reads x as it comes."""
    tuning, n, rows = call.gpu.tuning, _columns(call), call.inputs["weight"].shape[0]
    lanes = cuts.near(tuning.lanes_per_row, form.share)
    items = -(-rows // form.places)
    if name == "spmm_sell":
        lanes = tuning.lanes
    else:
        items *= lanes
    batches = form.batches or tuning.row_batches
    cut = cuts.narrow(tuning, items, n, lanes=lanes, batches=batches)
    _launch(call, name, form, cut, call.buffer("x"))


def _many(call: Call, name: str, form: Form, cut: Cut) -> None:
    """The kernel for many columns. A batch-first x is turned into columns first: that reads it once
    along memory, while gathering from every row of it would read a cache line per element."""
    cols, n = call.inputs["weight"].shape[1], _columns(call)
    x = call.buffer("x")
    if call.attributes["batch_first"]:
        columns = call.temporary(TensorType(Layout.DENSE, Dtype.F32, (cols, n)))
        shape.turn(call.gpu, x, columns, batch=1, rows=n, cols=cols)
        x = columns
    _launch(call, name, form, cut, x)


def _launch(call: Call, name: str, form: Form, cut: Cut, x: cl.Buffer | None) -> None:
    weight, n = call.inputs["weight"], _columns(call)
    rows, cols = weight.shape
    defines: Defines = {
        **form.defines,
        **cut.defines,
        "VALUE": BITS[weight.type.dtype],
        "INDEX": _bits(weight, form.indices),
        "BATCH_FIRST": int(bool(call.attributes["batch_first"]) or n == 1),
        "WORDS": int(call.gpu.tuning.words),
    }
    entry = f"{name}_rows" if "NARROW" in cut.defines else name
    call.gpu.programs.kernel(name, defines, entry).launch(
        cut.items,
        *(rows, cols, n, call.relu),
        *(weight.buffer(part) for part in form.parts),
        weight.buffer("scale") if "scale" in weight.parts else None,
        x,
        call.buffer("bias"),
        call.output("y"),
        rows=cut.groups,
    )


def _columns(call: Call) -> int:
    """Columns of x, that is rows if the batch comes first."""
    return call.inputs["x"].shape[0 if call.attributes["batch_first"] else 1]


def _is_narrow(call: Call) -> bool:
    return _columns(call) < call.gpu.tuning.columns_from


def _batches(call: Call) -> tuple[int, ...] | None:
    """Codes to decode beside two columns of x leave a card too few registers."""
    one = call.gpu.tuning.lanes > 1 and call.inputs["weight"].type.dtype is Dtype.I8
    return (1,) if one else None


def _quads(call: Call) -> int:
    """Loads of a row of mean length."""
    weight = call.inputs["weight"]
    return -(-(weight.type.nonzeros or 0) // (QUAD * max(weight.shape[0], 1)))


def _bits(tensor: DeviceTensor, part: str | None) -> int:
    return tensor.parts[part].dtype.itemsize * 8 if part else 32


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`."""
    return next(size for size in range(min(number, most), 0, -1) if number % size == 0)
