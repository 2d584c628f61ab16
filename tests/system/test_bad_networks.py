"""Network files that are broken or hostile: the reason is named, and no model is left."""

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.client.client import Client
from shared.contracts.errors import InvalidNetwork, ModelExists, SuiteError, UnsupportedOperator
from tests.system import bad_networks as bad
from tests.system import networks, processes
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("unharmed")]
Row = tuple[Callable[[], bytes], type[SuiteError], str]
FILES: dict[str, Row] = {
    "outside": (bad.outside, InvalidNetwork, "'w' is stored outside the file"),
    "cycle": (bad.cycle, InvalidNetwork, "first reads 'b' before it is made: a cycle"),
    "weight": (bad.claimed_weight, InvalidNetwork, "8 dimensions and 268435456 elements"),
    "input": (bad.claimed_input, InvalidNetwork, "(?, 1099511627776)"),
    "sum": (
        bad.outer_sum,
        InvalidNetwork,
        "of 1099511627776 elements, over the limit of 268435456",
    ),
    "expanded": (bad.expanded, UnsupportedOperator, "1 of 1 nodes are not supported"),
    "endless": (bad.endless, InvalidNetwork, "20001 nodes, over the limit of 10000"),
    "empty": (bytes, InvalidNetwork, "no ONNX graph"),
    "pickle": (lambda: pickle.dumps([1.0] * 99), InvalidNetwork, "are not an ONNX file"),
}


async def test_no_bad_file_becomes_a_model(stack: Running, network: Classifier) -> None:
    whole = network.onnx()
    cut: Row = (lambda: whole[:-2_000], InvalidNetwork, f"{len(whole) - 2_000} bytes are not an")

    async def refused(client: Client, name: str, row: Row) -> None:
        content, kind, words = row
        with pytest.raises(kind) as caught:
            await client.add_model(f"bad-{name}", content())
        assert words in str(caught.value), name

    async with Client(stack.grpc) as client, asyncio.TaskGroup() as group:
        for name, row in (FILES | {"cut": cut}).items():
            group.create_task(refused(client, name, row))


async def test_every_unsupported_node_is_named_with_its_operator(stack: Running) -> None:
    async with Client(stack.grpc) as client:
        with pytest.raises(UnsupportedOperator) as caught:
            await client.add_model("recurrent", bad.unsupported())

    said = str(caught.value)
    assert said.startswith("2 of 3 nodes are not supported (LSTM x1, NonMaxSuppression x1)")
    assert "memory (LSTM)" in said
    assert "boxes (NonMaxSuppression)" in said
    assert "sound" not in said


def test_command_line_tells_why_a_file_is_refused(stack: Running, tmp_path: Path) -> None:
    (tmp_path / "recurrent.onnx").write_bytes(bad.unsupported())
    (tmp_path / "round.onnx").write_bytes(bad.cycle())

    def add(name: str, file: str) -> list[str]:
        arguments = ("model", "add", name, str(tmp_path / file))
        ended = processes.command(*arguments, address=stack.grpc)
        assert (ended.returncode, ended.stdout) == (2, "")
        return ended.stderr.splitlines()

    recurrent, hint = add("recurrent", "recurrent.onnx")
    round_, _ = add("round", "round.onnx")
    escape, _ = add("../x", "round.onnx")

    assert recurrent.startswith("error: [EL-1105] 2 of 3 nodes are not supported")
    assert "memory (LSTM)" in recurrent
    assert "boxes (NonMaxSuppression)" in recurrent
    assert hint.startswith("hint:  export with the listed operators replaced")
    assert round_ == (
        "error: [EL-1104] first reads 'b' before it is made: a cycle, or nodes out of order"
    )
    assert escape == "error: [EL-1103] '../x' cannot be the name of a model"


async def test_name_of_a_model_is_not_taken_over_by_another_network(
    stack: Running, model: str, network: Classifier
) -> None:
    other = networks.classifier(np.random.default_rng(8))
    x = np.ones((1, networks.INPUTS), np.float32)

    async with Client(stack.grpc) as client:
        with pytest.raises(ModelExists, match="exists with another network; remove it first"):
            await client.add_model(model, other.onnx())
        with pytest.raises(ModelExists, match="exists with nan_policy reject, not pass"):
            await client.add_model(model, network.onnx(), nan_policy="pass")
        outputs = await client.infer(model, {"x": x}, version="dense")

    np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)
