"""Hostile NIR files: every one ends in a clear error, inside the sandbox and its bounds."""

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.compressor.importers import nir_file, nir_nested, sandbox
from shared.contracts.errors import InvalidNetwork, SuiteError, TooLarge, UnsupportedOperator
from shared.network import shapes
from tests.services.nir_files import affine, chain, lif, served

SOUND = chain(affine(12, 5), lif(5))
FIELDS = [
    *(("n0", field) for field in ("weight", "bias", "type")),
    *(("n1", field) for field in ("tau", "r", "v_leak", "v_threshold", "v_reset", "type")),
    *(("input", field) for field in ("shape", "type")),
]


def altered(change: Callable[[Any], object]) -> bytes:
    """The sound file with something in its graph changed."""
    held = io.BytesIO(SOUND)
    with h5py.File(held, "r+") as opened:
        change(opened["node"])
    return held.getvalue()


def renewed(group: Any, field: str, value: object) -> None:
    del group[field]
    group[field] = value


def replaced(node: str, field: str, value: object) -> bytes:
    return altered(lambda graph: renewed(graph["nodes"][node], field, value))


def declared(shape: tuple[int, ...]) -> bytes:
    """Weights that take no room in the file, and very much outside it."""

    def change(graph: Any) -> None:
        del graph["nodes/n0/weight"]
        graph["nodes/n0"].create_dataset("weight", shape, "f8", chunks=(64, 64), compression="gzip")

    return altered(change)


def deep(graph: Any) -> None:
    inner = graph["nodes"]
    for _ in range(nir_nested.MAX_DEPTH + 2):
        inner = inner.create_group("g")
        inner["type"], inner["edges"] = "NIRGraph", np.zeros((0, 2))
        inner = inner.create_group("nodes")


def circular(graph: Any) -> None:
    graph["nodes/again"] = graph["nodes"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (declared((2**20, 2**20)), TooLarge, "declares arrays of 8796093022"),
        (altered(deep), InvalidNetwork, "lies in over 16 graphs"),
        (altered(circular), InvalidNetwork, "no NIR file: RecursionError"),
        (replaced("n1", "type", "Quantum"), UnsupportedOperator, r"'n1' \(Quantum\): no type of"),
        (replaced("n1", "type", "Input"), InvalidNetwork, "one input is served, the file has 2"),
        (
            replaced("n1", "tau", "fast"),
            InvalidNetwork,
            r"tau of 'n1' \(LIF\) is 'fast', no",
        ),
        (replaced("n1", "tau", np.ones(4)), InvalidNetwork, r"'n1' \(LIF\) cannot be read: Assert"),
        (replaced("n0", "weight", np.ones(60)), InvalidNetwork, "'n0' .* must be at least 2D"),
        (replaced("n0", "weight", np.ones((5, 12)) * 1j), InvalidNetwork, "weight of 'n0'"),
        (altered(lambda graph: renewed(graph, "edges", 7)), InvalidNetwork, "no list of edges"),
        (altered(lambda graph: renewed(graph, "edges", [1, 2])), InvalidNetwork, "is no edge"),
        (replaced("n0", "weight", np.full((5, 12), 1e300)), InvalidNetwork, "'n1' add up to inf"),
        (replaced("n0", "bias", np.ones(3)), InvalidNetwork, "bias of 'n0' has 3 values for 5"),
        (replaced("input", "shape", np.array([2**40])), InvalidNetwork, "the input has the shape"),
        (replaced("input", "shape", np.array([-1])), InvalidNetwork, "the input has the shape"),
    ],
)
def test_what_a_file_says_wrongly_is_named(
    data: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        served(data)


arrays = st.builds(
    lambda shape, value: np.full(shape, value),
    st.lists(st.integers(0, 13), max_size=4),
    st.sampled_from([0.0, 1.0, -1.0, 0.01, 1e300, np.inf, np.nan, 7]),
)


@given(at=st.sampled_from(FIELDS), value=st.one_of(arrays, st.text("abcLIF", max_size=4)))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_field_that_is_anything_gives_a_sound_network_or_a_named_error(
    at: tuple[str, str], value: object
) -> None:
    data = replaced(*at, value)

    with suppress(SuiteError):
        shapes.check(served(data))


@given(at=st.integers(0, len(SOUND) - 1))
def test_a_file_that_is_cut_anywhere_is_no_nir_file(at: int) -> None:
    with pytest.raises(InvalidNetwork, match="no NIR file"):
        nir_file.decode(SOUND[:at])


@pytest.mark.parametrize("seed", range(4))
async def test_flipped_bytes_end_in_the_sandbox(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(SOUND)
    for at in rng.integers(0, len(data), 20):
        data[at] ^= int(rng.integers(1, 256))

    with suppress(SuiteError):
        converted = await sandbox.convert(bytes(data), "nir", dt=1e-3, steps=5)
        assert converted.operators
