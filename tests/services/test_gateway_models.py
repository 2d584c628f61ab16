"""What the gateway says about itself and its models, and how models are taken in and out."""

import asyncio
from dataclasses import replace

import anyio
import grpc
import pytest

from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.contracts import wire
from shared.contracts.subjects import Bucket
from shared.contracts.v1.models import ModelManifest
from shared.contracts.wire import inference, jobs
from tests.services.gateway_house import House, manifest, opened, request

pytestmark = pytest.mark.usefixtures("front")


async def refusal(house: House, method: str, /, **fields: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.ask(method, **fields)
    return caught.value.code(), caught.value.details()


async def test_server_is_live_ready_and_says_its_name(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        live, ready = await house.ask("ServerLive"), await house.ask("ServerReady")
        about = await house.ask("ServerMetadata")

    assert (live.live, ready.ready, about.name) == (True, True, "ellesmere")
    assert {"model_repository", "statistics", "schedule_policy"} <= set(about.extensions)


async def test_metadata_lists_variants_as_versions_with_the_default_first(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.put(manifest(default="int8"), "cpu")
        about = await house.ask("ModelMetadata", name="digits", version="dense")

    assert list(about.versions) == ["int8", "dense"]
    assert about.platform == "ellesmere_network"
    assert [(i.name, i.datatype, list(i.shape)) for i in about.inputs] == [("x", "FP32", [-1, 4])]
    assert [o.datatype for o in about.outputs] == ["FP32", "INT64"]
    assert about.properties["variant"] == "dense"


async def test_model_is_ready_when_a_worker_has_the_variant(memory: MemoryBroker) -> None:
    async with opened(memory, workers=()) as house:
        before = await house.ask("ModelReady", name="digits")
        await house.hire("cpu-1")
        after = await house.ask("ModelReady", name="digits", version="int8")

    assert (before.ready, after.ready) == (False, True)


@pytest.mark.parametrize("call", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
async def test_calls_about_unknown_models_are_refused(memory: MemoryBroker, call: str) -> None:
    async with opened(memory) as house:
        unknown = await refusal(house, call, name="nothing")
        version = await refusal(house, call, name="digits", version="9")
        name = await refusal(house, call, name="a/../b")

    assert unknown[0] is version[0] is grpc.StatusCode.NOT_FOUND
    assert name[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert name[1].startswith("[EL-1103] ")


async def test_configuration_leaves_out_the_batch_dimension(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        config = (await house.ask("ModelConfig", name="digits")).config

    assert (config.name, config.backend) == ("digits", "ellesmere")
    assert config.max_batch_size == 4 * 2**20 // 16
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("x", inference.TYPE_FP32, [4])
    ]


async def test_statistics_count_rows_calls_and_failures(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await asyncio.gather(*(house.infer(request()) for _ in range(5)))
        with pytest.raises(grpc.aio.AioRpcError):
            await house.infer(inference.ModelInferRequest(model_name="digits"))
        found = await house.ask("ModelStatistics", name="digits", version="dense")

    (counted,) = found.model_stats
    assert (counted.inference_count, counted.execution_count) == (5, 5)
    assert counted.inference_stats.success.count == 5
    assert counted.inference_stats.fail.count == 1
    assert counted.inference_stats.compute_infer.ns == 5 * 200_000  # 0.2 ms each


async def test_index_tells_the_state_of_every_variant(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.put(manifest("off", loaded=False), "cpu")
        every = await house.ask("RepositoryIndex")
        ready = await house.ask("RepositoryIndex", ready=True)

    assert [(m.name, m.version, m.state, m.reason) for m in every.models] == [
        ("digits", "dense", "READY", ""),
        ("digits", "int8", "READY", ""),
        ("off", "dense", "UNAVAILABLE", "unloaded"),
        ("off", "int8", "UNAVAILABLE", "unloaded"),
    ]
    assert {m.name for m in ready.models} == {"digits"}


async def test_unload_takes_effect_at_once_and_load_undoes_it(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.ask("RepositoryModelUnload", model_name="digits")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.infer(request())
        stored = await house.bus.get(Bucket.MODELS, "digits")
        await house.ask("RepositoryModelLoad", model_name="digits")
        reply = await house.infer(request())

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not ModelManifest.decode(stored.value).loaded
    assert reply.model_version == "dense"


async def test_load_waits_for_a_worker_and_says_when_none_came(memory: MemoryBroker) -> None:
    async with opened(memory, workers=(), limits=replace(Limits(), load=0.05)) as house:
        code, words = await refusal(house, "RepositoryModelLoad", model_name="digits")

    assert code is grpc.StatusCode.UNAVAILABLE
    assert "no worker has it yet" in words


async def test_load_returns_when_the_worker_has_come(memory: MemoryBroker) -> None:
    async with opened(memory, workers=()) as house, anyio.create_task_group() as group:
        group.start_soon(house.hire, "cpu-1")
        await house.ask("RepositoryModelLoad", model_name="digits")

        assert (await house.ask("ModelReady", name="digits")).ready


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model_name": "nothing"}, grpc.StatusCode.NOT_FOUND),
        ({"model_name": "../x"}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
@pytest.mark.parametrize("call", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_load_and_unload_of_what_is_not_there_are_refused(
    memory: MemoryBroker, call: str, fields: dict[str, str], code: grpc.StatusCode
) -> None:
    async with opened(memory) as house:
        assert (await refusal(house, call, **fields))[0] is code


async def test_load_with_parameters_that_are_not_served_is_refused(memory: MemoryBroker) -> None:
    override = {"config": inference.ModelRepositoryParameter(string_param="{}")}

    async with opened(memory) as house:
        code, words = await refusal(
            house, "RepositoryModelLoad", model_name="digits", parameters=override
        )

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'config'" in words


async def test_malformed_bytes_are_refused_by_every_unary_call(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        for path in house.gateway.app.methods.unary:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await house.raw(path, b"\xff\xff\xff")

            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, path
            assert caught.value.details().startswith("[EL-1101] "), path


async def test_bad_manifest_on_the_bus_is_passed_over(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.bus.put(Bucket.MODELS, "broken", b"{")
        await house.bus.put(Bucket.ROUTES, "model.broken", b"[]")
        await house.put(manifest("after"), "cpu")
        reply = await house.infer(request(model="after"))

    assert reply.model_name == "after"


async def test_bad_manifest_does_not_hide_the_others_from_the_list(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        for name, content in (("broken", b"{"), ("noise", b"\xff\xfe")):
            await house.bus.put(Bucket.MODELS, name, content)
        path = wire.rpcs(wire.JOBS)["ListModels"].path
        reply = jobs.ListModelsResponse.FromString(await house.raw(path, b""))

    listed = [ModelManifest.decode(text.encode()).model for text in reply.manifest_json]
    assert listed == ["digits"]
