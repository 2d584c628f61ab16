"""Costs against arithmetic by hand: flops, and every byte read or written once."""

import pytest

from shared.operators import validate
from shared.operators.catalog import CATALOG, spec
from shared.operators.dims import nbytes
from shared.operators.spec import Attributes, Cost, OperatorSpec
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, Layout, TensorType

F32 = Dtype.F32


def dense(*shape: int) -> TensorType:
    return TensorType(Layout.DENSE, F32, shape)


ROWS: list[tuple[str, dict[str, TensorType], Attributes, float, float]] = [
    # 2·2·4·3 flops; 2·3 + 4·3 read and 2·4 written, 4 bytes each
    ("gemm_f32", {"x": dense(2, 3), "weight": dense(4, 3)}, {}, 48, 104),
    # and 2·4 for each of bias and relu; 4 more values read
    (
        "gemm_f32",
        {"x": dense(2, 3), "weight": dense(4, 3), "bias": dense(4)},
        {"activation": "relu"},
        64,
        120,
    ),
    # 48 + 2·4 for the scale; 4·6 for x, 12 codes, 4·4 scales, 4·8 for y
    (
        "gemm_i8",
        {"x": dense(2, 3), "weight": TensorType(Layout.INT8_CHANNEL, F32, (4, 3))},
        {},
        56,
        84,
    ),
    # 48; 4·6 for x, 30 bytes of weight as told, 4·8 for y
    (
        "gemm_i4",
        {"x": dense(2, 3), "weight": TensorType(Layout.INT4_GROUP, F32, (4, 3), None, 30)},
        {},
        48,
        86,
    ),
    (
        "gemm_int",
        {"x": dense(2, 3), "weight": TensorType(Layout.INT_GROUP, F32, (4, 3), None, 30)},
        {},
        48,
        86,
    ),
    # 2·2·3·4 for the product, 2·4 each for scale, bias and relu; 2·3 bytes of x, 12 codes,
    # 4·4 scales, 4·4 for bias, 2·4 bytes of y
    (
        "gemm_q8",
        {
            "x": TensorType(Layout.DENSE, Dtype.I8, (2, 3)),
            "weight": TensorType(Layout.INT8_CHANNEL, F32, (4, 3)),
            "bias": TensorType(Layout.DENSE, Dtype.I32, (4,)),
        },
        {"x_scale": 0.5, "to": "i8", "activation": "relu"},
        72,
        58,
    ),
    # 2·6 operations; 4·6 bytes of floats and 6 of bytes
    ("quantize_i8", {"x": dense(2, 3)}, {"scale": 0.5}, 12, 30),
    ("dequantize_i8", {"x": TensorType(Layout.DENSE, Dtype.I8, (2, 3))}, {"scale": 0.5}, 12, 30),
    # 2 rows of 5 steps, 4 neurons of 3 inputs: 2·5·4·(3 + 5); words 4·2·5 each, 4·12, 4·8
    (
        "lif_layer",
        {"spikes": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3)), "weight": dense(4, 3)},
        {"decay": 0.5},
        320,
        160,
    ),
    # the same, and 4·8 more for the currents
    (
        "cuba_layer",
        {"spikes": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3)), "weight": dense(4, 3)},
        {"decay": 0.5, "synapse": 0.5, "couple": 0.1},
        320,
        192,
    ),
    # 2 rows of 5 steps: 2·5·(4·(3 + 9) + 6); as lif_layer, 4·(12 + 1) pointers, 6·8 elements, 4·7·4
    # constants, 4·8 currents and words 4·2·2
    (
        "recurrent_layer",
        {
            "spikes": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3)),
            "weight": dense(4, 3),
            "recurrent": TensorType(Layout.CSR, F32, (12, 4), 6),
            "neurons": dense(7, 4),
        },
        {},
        540,
        420,
    ),
    # 5 steps, 4 neurons of 3 inputs: 5·4·(4·3 + 10); words 4·5 twice, 4·12 and again, 4·(4·3 + 3)
    (
        "plastic_layer",
        {"spikes": TensorType(Layout.SPIKE_BITS, F32, (1, 5, 3)), "weight": dense(4, 3)},
        {"decay": 0.5},
        440,
        196,
    ),
    # 2·2·5·3 operations; 4·6 bytes of x, a word of 4 in each of 2·5 steps
    ("rate_encode", {"x": dense(2, 3)}, {"steps": 5}, 60, 64),
    # 2·5·3 and 2·5·40 bits; words 4·2·5 of a, twice that of b, and of both
    (
        "spike_join",
        {
            "a": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3)),
            "b": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 40)),
        },
        {},
        430,
        200,
    ),
    ("spike_pack", {"x": dense(2, 5, 3)}, {}, 30, 160),
    ("spike_unpack", {"spikes": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3))}, {}, 30, 160),
    ("spike_rate", {"spikes": TensorType(Layout.SPIKE_BITS, F32, (2, 5, 3))}, {}, 30, 64),
    # 2·5·7 flops; 4·(4 + 1) pointers, 5·8 elements, 4·3·7 for x, 4·4·7 for y
    (
        "spmm_csr",
        {"weight": TensorType(Layout.CSR, F32, (4, 3), 5), "x": dense(3, 7)},
        {},
        70,
        256,
    ),
    # batch first: the same work; bias adds 4·7 flops and 4·4 bytes
    (
        "spmm_csr",
        {"weight": TensorType(Layout.CSR, F32, (4, 3), 5), "x": dense(7, 3), "bias": dense(4)},
        {"batch_first": True},
        98,
        272,
    ),
    # the other layouts alike: 2·5·7 flops; 50 bytes as told, 4·3·7 for x, 4·4·7 for y
    *(
        (
            f"spmm_{layout}",
            {"weight": TensorType(layout, F32, (4, 3), 5, 50), "x": dense(3, 7)},
            {},
            70,
            246,
        )
        for layout in sorted(SPARSE - {Layout.CSR})
    ),
    # 2·5·6 flops; 60 bytes of pattern, 4·4·6 for a, 4·3·6 for b, 4·5 values
    (
        "sddmm_csr",
        {"pattern": TensorType(Layout.CSR, F32, (4, 3), 5, 60), "a": dense(4, 6), "b": dense(3, 6)},
        {},
        60,
        248,
    ),
    # 6 per neuron; v, current, v_next, spikes
    ("lif_step", {"v": dense(2, 5), "current": dense(2, 5)}, {"decay": 0.5}, 60, 160),
    # 6·2·3 + 3·(2 + 3); weight and traces twice, spikes once: 4·(6·2 + 5·2 + 5)
    (
        "stdp_update",
        {
            "weight": dense(2, 3),
            "pre_spikes": dense(3),
            "post_spikes": dense(2),
            "pre_trace": dense(3),
            "post_trace": dense(2),
        },
        {"a_plus": 1.0, "a_minus": 1.0, "decay_pre": 1.0, "decay_post": 1.0},
        51,
        108,
    ),
    ("relu", {"x": dense(2, 5)}, {}, 10, 80),
    ("sigmoid", {"x": dense(2, 5)}, {}, 40, 80),  # negate, exp, add, divide
    ("tanh", {"x": dense(2, 5)}, {}, 10, 80),
    ("copy", {"x": dense(2, 5)}, {}, 0, 80),
    ("clip", {"x": dense(2, 5)}, {"low": 0.0, "high": 1.0}, 20, 80),
    ("softmax", {"x": dense(2, 5)}, {}, 50, 80),  # max, subtract, exp, add, divide
    ("add", {"a": dense(2, 5), "b": dense(5)}, {}, 10, 100),  # 10 + 5 read, 10 written
    ("mul", {"a": dense(2, 5), "b": dense()}, {}, 10, 84),
    ("cast", {"x": dense(2, 5)}, {"to": "i8"}, 0, 50),  # 4 read and 1 written each
    ("reduce_sum", {"x": dense(2, 5)}, {"axis": 1}, 10, 48),  # 10 read, 2 written
    ("reduce_mean", {"x": dense(2, 5)}, {"axis": 0}, 10, 60),  # 10 read, 5 written
    ("reduce_max", {"x": dense(2, 5)}, {"axis": -1, "keepdims": True}, 10, 48),
    ("reshape", {"x": dense(2, 5)}, {"shape": (10,)}, 0, 0),
    ("transpose", {"x": dense(2, 5)}, {"perm": (1, 0)}, 0, 80),
]


@pytest.mark.parametrize(("name", "inputs", "attributes", "flops", "moved"), ROWS)
def test_cost_is_the_arithmetic_by_hand(
    name: str, inputs: dict[str, TensorType], attributes: Attributes, flops: float, moved: float
) -> None:
    filled = validate.call(spec(name), inputs, attributes)

    assert spec(name).cost(inputs, filled) == Cost(flops, moved)


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_operator_has_a_cost_by_hand(entry: OperatorSpec) -> None:
    assert entry.name in {row[0] for row in ROWS}


def test_spike_bits_count_whole_words() -> None:
    assert nbytes(TensorType(Layout.SPIKE_BITS, F32, (3, 33))) == 3 * 2 * 4


def test_bytes_of_grouped_integers_need_the_group() -> None:
    with pytest.raises(ValueError, match="do not follow from its shape"):
        nbytes(TensorType(Layout.INT4_GROUP, F32, (4, 8)))


@pytest.mark.parametrize("layout", [Layout.CSR, Layout.INT8_CHANNEL, Layout.SPIKE_BITS])
def test_bytes_of_a_layout_without_its_dimensions_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match="dimensions or more, got shape"):
        nbytes(TensorType(layout, F32, ()))
