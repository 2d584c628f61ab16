"""Bytes of tensors: what is written reads back, and nothing malformed gets in."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.tensors import container
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, dense
from tests.numerics.sparse_samples import stored

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)


def int8(codes: list[list[int]], scale: list[float]) -> Tensor:
    held, steps = np.array(codes, np.int8), np.array(scale, np.float32)[:, None]
    rows, cols = held.shape
    return Tensor(Layout.INT8_CHANNEL, Dtype.F32, (rows, cols), {"codes": held, "scale": steps})


def every_layout() -> dict[str, Tensor]:
    words = Tensor(Layout.SPIKE_BITS, Dtype.F32, (2, 3), {"words": np.array([[5], [7]], np.uint32)})
    nibbles = {"codes": np.array([[0x21, 0x43]], np.uint8), "scale": np.ones((1, 2), np.float32)}
    stream = {
        "bits": np.array([3], np.uint8),
        "codes": np.array([[0x8D, 0x02]], np.uint8),
        "scale": np.ones((1, 2), np.float32),
        "zero": np.array([[4, 3]], np.uint8),
    }
    return {
        "x": dense(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "half": dense(np.array([0x3F80], np.uint16), Dtype.BF16),
        "weight": stored([0, 1, 1, 3], [2, 0, 3], [1, 2, 3], cols=4),
        "codes": int8([[1, -2], [3, 4]], [0.5, 0.25]),
        "nibbles": Tensor(Layout.INT4_GROUP, Dtype.F32, (1, 4), nibbles),
        "stream": Tensor(Layout.INT_GROUP, Dtype.F32, (1, 4), stream),
        "spikes": words,
    }


def header(content: object, body: bytes = b"") -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes


def assert_equal(given: Tensor, expected: Tensor) -> None:
    assert given.type == expected.type
    for part, array in expected.parts.items():
        assert given.parts[part].dtype == array.dtype
        np.testing.assert_array_equal(given.parts[part], array)


def test_every_layout_reads_back() -> None:
    tensors = every_layout()

    again = container.unpack(container.pack(tensors))

    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_equal(again[name], tensor)


@given(
    st.dictionaries(
        NAMES,
        st.sampled_from([held for held in Dtype if held is not Dtype.BF16]).flatmap(
            lambda kind: arrays.arrays(kind.numpy, SHAPES)
        ),
        max_size=4,
    ),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.text(max_size=20)),
)
def test_dense_tensors_and_text_read_back(
    held: dict[str, np.ndarray[Any, Any]], text: dict[str, str]
) -> None:
    text = {key: value for key, value in text.items() if key != "layouts" and value.isprintable()}

    data = container.pack({name: dense(array) for name, array in held.items()}, text)

    assert container.metadata(data) == text
    again = container.unpack(data)
    assert again.keys() == held.keys()
    for name, array in held.items():
        assert_equal(again[name], dense(array))


def test_the_library_reads_what_we_write() -> None:
    tensors = every_layout()
    del tensors["half"]  # numpy has no BF16

    read = safetensors.numpy.load(container.pack(tensors, {"message": "é"}))

    np.testing.assert_array_equal(read["x"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["weight.indptr"], [0, 1, 1, 3])


def test_we_read_what_the_library_writes() -> None:
    arrays = {"weight.codes": np.array([[1, -2]], np.int8), "x": np.ones(3, np.float16)}
    arrays["weight.scale"] = np.array([[0.5]], np.float32)
    layouts = json.dumps({"weight": {"layout": "int8_channel", "shape": [1, 2]}})

    tensors = container.unpack(safetensors.numpy.save(arrays, {"layouts": layouts}))

    assert_equal(tensors["weight"], int8([[1, -2]], [0.5]))
    assert tensors["x"].dtype is Dtype.F16


def test_equal_tensors_have_equal_bytes_whatever_their_order() -> None:
    tensors = every_layout()
    turned = dict(reversed(tensors.items()))

    one = container.pack(tensors, {"a": "1", "b": "2"})
    other = container.pack(turned, {"b": "2", "a": "1"})

    assert one == other
    assert container.digest(one) == container.digest(other)


def test_digest_is_sha256() -> None:
    assert container.digest(b"abc").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1


def test_unpacked_tensors_are_aligned_views_that_cannot_be_written() -> None:
    data = container.pack(every_layout())

    for tensor in container.unpack(data).values():
        for array in tensor.parts.values():
            assert not array.flags.writeable
            assert array.flags.aligned
            assert not array.flags.owndata


def test_a_tensor_in_column_order_reads_back() -> None:
    turned = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = Tensor(Layout.DENSE, Dtype.F32, (2, 3), {"values": turned})

    again = container.unpack(container.pack({"x": tensor}))

    np.testing.assert_array_equal(again["x"].values, turned)


HUGE = struct.pack("<Q", 200 << 20) + b"{}"
MANY = {str(number): entry(shape=[0], data_offsets=[0, 0]) for number in range(10_001)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 8 bytes, got 0"),
        (b"\0" * 8, "starts with '{', got b''"),
        (HUGE, "at most 1048576 bytes, this one claims 209715200"),
        (b"\xff" * 16, "this one claims 18446744073709551615"),
        (struct.pack("<Q", 100) + b"{}", "claims 100 bytes, 2 are left"),
        (header(b"[]"), "starts with '{', got b'['"),
        (header(b"{\xff}"), "can't decode byte 0xff"),
        (header(b"{"), "Expecting property name"),
        (header(b'{"a":' + b"[" * 500_000), "nests too deeply"),
        (header(b'{"a":1,"a":2}'), "the key 'a' occurs twice"),
        (header(b'{"a":{"shape":1,"shape":2}}'), "the key 'shape' occurs twice"),
        (header(b'{"__metadata__":{"a":"\\ud83d"}}'), "holds '\\ud83d', half of a surrogate pair"),
        (header(b'{"\\udc00":1}'), "half of a surrogate pair"),
        (header(b'{"a":NaN}'), "NaN is not a number of JSON"),
        (header(b'{"a":' + b"9" * 5000 + b"}"), "4300 digits"),
        (header(MANY), "at most 10000 tensors, got 10001"),
        (header({str(n): entry() for n in range(100_000)}), "at most 1048576 bytes"),
        (header({"__metadata__": []}), "__metadata__ must be a JSON object, got list"),
        (header({"__metadata__": {"a": 1}}), "metadata 'a' must be text, got 1"),
        (header({"a": 1}), "tensor 'a' needs dtype, shape and data_offsets"),
        (header({"a": entry(more=1)}, bytes(4)), "nothing else"),
        (header({"": entry()}, bytes(4)), "1..512 characters, got 0"),
        (header({"a" * 513: entry()}, bytes(4)), "1..512 characters, got 513"),
        (header({"a": entry(dtype="C64")}, bytes(4)), "has dtype 'C64'; known: BOOL"),
        (header({"a": entry(dtype=["F32"])}, bytes(4)), "has dtype ['F32']"),
        (header({"a": entry(shape=[True])}, bytes(4)), "got [True]"),
        (header({"a": entry(shape=[-1])}, bytes(4)), "got [-1]"),
        (header({"a": entry(shape=[1.0])}, bytes(4)), "got [1.0]"),
        (header({"a": entry(shape=[0, 2**62])}, bytes(4)), "got [0, 4611686018427387904]"),
        (header({"a": entry(shape=[1] * 200)}, bytes(4)), "at most 32 dimensions"),
        (header({"a": entry(shape=[0] + [2**31 - 1] * 3)}, bytes(4)), "exceeds"),
        (header({"a": entry(shape=[2**31 - 1] * 3)}, bytes(4)), "exceeds"),
        (header({"a": entry(data_offsets=[0])}, bytes(4)), "two data_offsets"),
        (header({"a": entry(data_offsets=[4, 0])}, bytes(4)), "needs 4 bytes, its offsets span -4"),
        (header({"a": entry(data_offsets=[0, 8])}, bytes(8)), "needs 4 bytes, its offsets span 8"),
        (header({"a": entry(data_offsets=[4, 8])}, bytes(8)), "starts at 4, expected 0"),
        (header({"a": entry(), "b": entry()}, bytes(8)), "starts at 0, expected 4"),
        (header({"a": entry()}, bytes(5)), "end at byte 4 of the data, which has 5"),
        (header({"a": entry()}, bytes(3)), "end at byte 4 of the data, which has 3"),
        (header({"a": entry(dtype="BOOL", shape=[4])}, b"\0\1\2\0"), "bool bytes are 0 or 1"),
    ],
)
def test_malformed_bytes_are_refused_with_the_value(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        container.unpack(data)

    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


WEIGHT = stored([0, 1, 1, 3], [2, 0, 3], [1, 2, 3], cols=4)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (stored([0, 2, 1, 3], [0, 1, 2], [1, 1, 1], cols=4), "indptr decreases at row 1: 2 to 1"),
        (stored([1, 1, 3], [0, 1, 2], [1, 1, 1], cols=4), "must run from 0 to 3, got 1 to 3"),
        (stored([0, 1, 4], [0, 1, 2], [1, 1, 1], cols=4), "must run from 0 to 3, got 0 to 4"),
        (stored([0, 1, 2], [0, 4], [1, 1], cols=4), "indices[1] is 4, the matrix has 4 columns"),
        (stored([0, 1, 2], [-1, 0], [1, 1], cols=4), "indices[0] is -1, the matrix has 4 columns"),
        (stored([0, 1, 2], [0, 1], [1, 1, 1], cols=4), "values must have shape (2,), got (3,)"),
        (int8([[1, 2]], [0.0]), "scales must be positive and finite, smallest is 0.0"),
        (int8([[1, 2]], [float("nan")]), "scales must be positive and finite"),
        (int8([[1, 2]], [0.5, 0.5]), "scale must have shape (1, 1), got (2, 1)"),
    ],
)
def test_broken_layout_is_neither_written_nor_read(tensor: Tensor, message: str) -> None:
    parts = {f"w.{part}": array for part, array in tensor.parts.items()}
    layouts = {"w": {"layout": tensor.layout, "shape": tensor.shape}}
    foreign = safetensors.numpy.save(parts, {"layouts": json.dumps(layouts)})

    for attempt in (lambda: container.pack({"w": tensor}), lambda: container.unpack(foreign)):
        with pytest.raises(ValueError, match="tensor 'w': ") as caught:
            attempt()
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ("[]", "layouts must be a JSON object, got list"),
        ('{"w": 1}', "'w' needs a layout and a shape"),
        ('{"w": {"layout": "coo", "shape": [3, 4]}}', "has layout 'coo'; known: csr"),
        ('{"w": {"layout": "dense", "shape": [3, 4]}}', "has layout 'dense'; known: csr"),
        ('{"w": {"layout": [], "shape": [3, 4]}}', "has layout []"),
        ('{"w": {"layout": "csr", "dtype": "f33", "shape": [3, 4]}}', "has dtype 'f33'"),
        ('{"w": {"layout": "csr", "dtype": "f16", "shape": [3, 4]}}', "values must be f16, got"),
        ('{"w": {"layout": "csr", "shape": [4, 4]}}', "indptr must have shape (5,), got (4,)"),
        ('{"w": {"layout": "csr", "shape": [3, 3]}}', "indices[2] is 3, the matrix has 3 columns"),
        ('{"w": {"layout": "csr", "shape": [3]}}', "needs two dimensions"),
        ('{"w": {"layout": "csr", "shape": "3"}}', "the shape of 'w'"),
        ('{"v": {"layout": "csr", "shape": [3, 4]}}', "'v' of layout csr lacks v.indptr"),
        ('{"w": {"layout": "csr", "shape": [3, 4]}, "w": 1}', "the key 'w' occurs twice"),
    ],
)
def test_layouts_that_do_not_fit_the_parts_are_refused(layouts: str, message: str) -> None:
    parts = {f"w.{part}": array for part, array in WEIGHT.parts.items()}

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        container.unpack(safetensors.numpy.save(parts, {"layouts": layouts}))

    assert message in str(caught.value)


def test_tensor_stored_dense_and_sparse_is_refused() -> None:
    parts = {f"w.{part}": array for part, array in WEIGHT.parts.items()}
    layouts = json.dumps({"w": {"layout": "csr", "shape": [3, 4]}})

    with pytest.raises(ValueError, match="'w' is stored twice: dense and csr"):
        container.unpack(safetensors.numpy.save(parts | {"w": np.ones(1)}, {"layouts": layouts}))


def test_names_that_collide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the stored name 'w.values' is taken"):
        container.pack({"w": WEIGHT, "w.values": dense(np.ones(1))})


def test_the_key_of_layouts_cannot_be_given() -> None:
    with pytest.raises(ValueError, match="'layouts' is written by the container"):
        container.pack({}, {"layouts": "{}"})


def test_what_the_reader_would_refuse_is_not_written() -> None:
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        container.pack({}, {"message": "x" * (1 << 20)})


def test_escaped_characters_outside_the_basic_plane_are_text() -> None:
    assert container.metadata(header(b'{"__metadata__":{"a":"\\ud83d\\ude00"}}')) == {"a": "😀"}


def test_metadata_is_read_without_looking_at_the_tensors() -> None:
    data = header({"__metadata__": {"message": "{}"}, "a": "nonsense"})

    assert container.metadata(data) == {"message": "{}"}
