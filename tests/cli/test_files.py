"""Arrays and tensors in files: what is read, what is refused, and why."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ops.cli import arrays, records, tensor_files
from shared.contracts.errors import InvalidFile, TooLarge
from shared.sparse import convert, narrow
from shared.tensors import container, layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor
from tests.numerics.sparse_samples import stored


def csr() -> Tensor:
    """[[0 5], [7 0]]"""
    return stored([0, 1, 2], [1, 0], [5, 7], cols=2)


def test_npy_and_npz_are_read_by_name(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xs.npz", a=x, b=x[0])

    one, two = arrays.load(tmp_path / "x.npy"), arrays.load(tmp_path / "xs.npz")

    np.testing.assert_array_equal(one["x"], x)
    assert list(two) == ["a", "b"]


def test_foreign_byte_order_and_column_order_become_ours(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    np.save(tmp_path / "x.npy", x)

    held = arrays.load(tmp_path / "x.npy")["x"]

    assert held.dtype == np.dtype("<f4")
    assert held.flags.c_contiguous
    np.testing.assert_array_equal(held, x)


def test_scalar_stays_a_scalar(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float32(3))

    assert arrays.load(tmp_path / "x.npy")["x"].shape == ()


def test_objects_inside_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([{}], dtype=object))

    for name in ("x.npy", "x.npz"):
        with pytest.raises(InvalidFile, match=r"[Oo]bject"):
            arrays.load(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"PK\x03\x04rest", b"hello, world"],
    ids=["empty", "magic alone", "cut header", "broken zip", "text"],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)

    with pytest.raises(InvalidFile):
        arrays.load(tmp_path / "x.npy")


def test_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.save(held, np.zeros((1, 4), np.float32))
    (tmp_path / "x.npy").write_bytes(held.getvalue().replace(b"(1, 4)", b"(9, 4)"))

    with pytest.raises(InvalidFile):
        arrays.load(tmp_path / "x.npy")


def test_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\0")
    content = path.read_bytes()
    claimed = (2**32 - 2).to_bytes(4, "little")
    entry = content.index(b"PK\x01\x02")
    path.write_bytes(content[: entry + 24] + claimed + content[entry + 28 :])

    with pytest.raises(TooLarge, match="4294967294"):
        arrays.load(path)


def test_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")

    with pytest.raises(InvalidFile, match="not an array"):
        arrays.load(tmp_path / "x.npz")


def test_text_and_complex_numbers_are_refused_with_their_type(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array(["a"]))
    np.savez(tmp_path / "z.npz", z=np.array([1j]))

    with pytest.raises(InvalidFile, match="'x'"):
        arrays.load(tmp_path / "x.npz")
    with pytest.raises(InvalidFile, match="complex128"):
        arrays.load(tmp_path / "z.npz")


def test_csr_is_joined_from_its_parts(tmp_path: Path) -> None:
    parts = {f"w.{name}": part for name, part in csr().parts.items()}
    np.savez(tmp_path / "w.npz", **parts, **{"w.shape": np.array([2, 2])}, x=np.ones(2, np.float32))

    held = tensor_files.load(tmp_path / "w.npz")

    assert sorted(held) == ["w", "x"]
    assert held["w"].type == csr().type
    assert held["x"].layout is Layout.DENSE


def test_csr_without_a_part_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"w.indptr": np.array([0, 1], np.int32)})

    with pytest.raises(InvalidFile, match=r"w\.indices, w\.shape, w\.values"):
        tensor_files.load(tmp_path / "w.npz")


@pytest.mark.parametrize("layout", sorted(layouts.SPARSE))
@pytest.mark.parametrize("dtype", [Dtype.F32, Dtype.F16, Dtype.I8])
def test_layout_that_is_named_is_joined_from_its_parts(
    tmp_path: Path, layout: Layout, dtype: Dtype
) -> None:
    matrix = layouts.dense(np.eye(5, 7, dtype=np.float32))
    wanted = narrow.compact(narrow.narrow(convert.to_layout(matrix, layout), dtype))
    about = {"w.shape": np.array([5, 7]), "w.layout": np.array(str(layout))}
    np.savez(tmp_path / "w.npz", **{f"w.{n}": p for n, p in wanted.parts.items()}, **about)

    held = tensor_files.load(tmp_path / "w.npz")

    assert list(held) == ["w"]
    assert held["w"].type == wanted.type
    np.testing.assert_array_equal(convert.to_dense(held["w"]), convert.to_dense(wanted))


def test_numbers_of_scipy_in_64_bits_become_indices(tmp_path: Path) -> None:
    parts = {f"w.{name}": part for name, part in csr().parts.items()}
    wide = {"w.indptr": parts["w.indptr"].astype(">i8"), "w.shape": np.array([2, 2])}
    np.savez(tmp_path / "w.npz", **(parts | wide))

    assert tensor_files.load(tmp_path / "w.npz")["w"].parts["indptr"].dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w.layout": np.array("coo")}, r"w\.layout is 'coo'; known: bitmask, block"),
        ({"w.layout": np.array([3])}, r"w\.layout is '3'; known"),
        ({"w.layout": np.array(["csr", "csc"])}, r"w\.layout is .*csr.*csc.*; known"),
        (
            {"w.layout": np.array("sell")},
            r"also needs w\.lengths, w\.order, w\.starts",
        ),
        ({"w.indices": np.array([1, 2])}, r"indices\[1\] is 2, the matrix has 2 columns"),
        ({"w.indices": np.array([1, 2**40])}, "indices must be i32 or u16, got i64"),
        ({"w.values": np.ones(2, np.int8)}, r"also needs w\.scale"),
        ({"w.values": np.ones(2)}, "values of csr are f32, f16 or i8, got f64"),
        ({"w.shape": np.array(2)}, "shape must be whole numbers, got 2"),
        ({"w.shape": np.array([2.5, 2])}, r"shape must be whole numbers, got \[2\.5"),
    ],
)
def test_parts_that_do_not_join_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    parts = {f"w.{name}": part for name, part in csr().parts.items()}
    np.savez(tmp_path / "w.npz", **(parts | {"w.shape": np.array([2, 2])} | change))

    with pytest.raises(InvalidFile, match=message):
        tensor_files.load(tmp_path / "w.npz")


def test_safetensors_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(container.pack({"w": csr()}))
    (tmp_path / "cut.safetensors").write_bytes(container.pack({"w": csr()})[:-4])

    assert tensor_files.load(tmp_path / "w.safetensors")["w"].type == csr().type
    with pytest.raises(InvalidFile):
        tensor_files.load(tmp_path / "cut.safetensors")


def test_outputs_are_written_in_the_format_of_the_name(tmp_path: Path) -> None:
    y = np.arange(4, dtype=np.float32)

    records.save(tmp_path / "y.npy", {"y": layouts.dense(y)})
    records.save(tmp_path / "y.npz", {"y": layouts.dense(y)})
    records.save(tmp_path / "w.safetensors", {"w": csr()})

    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), y)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], y)
    assert tensor_files.load(tmp_path / "w.safetensors")["w"].type == csr().type


def test_outputs_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    y = layouts.dense(np.arange(4, dtype=np.float32))

    with pytest.raises(InvalidFile, match="a, b"):
        records.save(tmp_path / "y.npy", {"a": y, "b": y})
    with pytest.raises(InvalidFile, match=r"\.safetensors"):
        records.save(tmp_path / "y.npz", {"w": csr()})
