"""Export and import of stored networks as jobs: in-memory bus, a real CPU worker and compressor."""

import hashlib

import numpy as np
import onnxruntime
import pytest

from shared.bus.memory import MemoryBroker
from shared.contracts.errors import InvalidNetwork, UnknownModel
from shared.contracts.v1.jobs import CompressBody, ImportBody, InferBody
from shared.contracts.v1.models import ModelManifest
from shared.tensors import layouts
from tests.services import nir_files
from tests.services.compressor_house import SCORES, House, X, network, opened

ROWS = X[:5]


async def exported(house: House, **asked: str) -> tuple[dict[str, object], bytes]:
    body = CompressBody.model_validate({"model": "net", "action": "export", **asked})
    record, tensors = await house.run(body)
    return record.report, tensors["file"].values.tobytes()


async def test_a_dense_model_leaves_as_onnx_that_answers_alike(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report, data = await exported(house)

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        (scores,) = session.run(["y"], {"x": ROWS})
        np.testing.assert_allclose(scores, SCORES[:5], rtol=1e-4, atol=1e-4)
        assert report["sha256"] == hashlib.sha256(data).hexdigest()
        await house.load(data, model="again")  # and our own importer reads it
        _, outputs = await house.run(InferBody(model="again"), {"x": layouts.dense(ROWS)})
        np.testing.assert_allclose(outputs["y"].values, SCORES[:5], rtol=1e-4, atol=1e-4)


async def test_a_small_variant_leaves_as_safetensors_and_comes_back_the_same(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        small = CompressBody(model="net", method="int8", objective="size", max_accuracy_drop=0.1)
        await house.compress(small)

        report, data = await exported(house, variant="int8", format="safetensors")

        manifest = ModelManifest.model_validate(report["manifest"])
        assert [variant.name for variant in manifest.variants] == ["int8"]
        assert manifest.variants[0].artifact.sha256 == hashlib.sha256(data).hexdigest()
        source = await house.bus.put_blob(data)
        await house.run(ImportBody(model="other", source=source, format="safetensors"))
        again = await house.manifest("other")
        assert again.default == "imported"
        assert again.variants[0].artifact == manifest.variants[0].artifact
        rows = {"x": layouts.dense(ROWS)}
        _, first = await house.run(InferBody(model="net", variant="int8"), rows)
        _, second = await house.run(InferBody(model="other"), rows)
        np.testing.assert_array_equal(first["y"].values, second["y"].values)


async def test_what_cannot_leave_or_enter_is_named(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        source = await house.bus.put_blob(network())

        with pytest.raises(UnknownModel, match="no variant 'tiny', only dense"):
            await exported(house, variant="tiny")
        with pytest.raises(InvalidNetwork, match="header"):
            await house.run(ImportBody(model="other", source=source, format="safetensors"))


async def test_a_spiking_model_leaves_as_nir_and_comes_back_the_same(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        source = await house.bus.put_blob(
            nir_files.chain(nir_files.affine(12, 5), nir_files.lif(5))
        )
        await house.run(ImportBody(model="spiky", source=source, format="nir", steps=60))

        body = CompressBody(model="spiky", action="export", format="nir", dt=1e-3)
        record, tensors = await house.run(body)

        assert record.report["format"] == "nir"
        source = await house.bus.put_blob(tensors["file"].values.tobytes())
        await house.run(ImportBody(model="again", source=source, format="nir", steps=60))
        rows = {"x": layouts.dense(nir_files.spikes(12))}
        _, first = await house.run(InferBody(model="spiky"), rows)
        _, second = await house.run(InferBody(model="again"), rows)
        for name in ("rate", "train", "v"):
            np.testing.assert_array_equal(first[name].values, second[name].values)
