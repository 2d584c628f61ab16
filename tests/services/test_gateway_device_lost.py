"""A call whose worker has lost its device is asked once elsewhere; the caller hears of it else."""

import anyio
import grpc
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from tests.services.gateway_house import INFER, manifest, opened, request

pytestmark = pytest.mark.usefixtures("front")


async def test_a_call_whose_device_was_lost_is_answered_by_another_class(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.put(manifest(), "gpu-pocl", "cpu")
        await house.hire("gpu-1", "gpu-pocl", refuse="EL-1304")

        reply = await house.infer(request())

    names = [output.name for output in reply.outputs]
    y = np.frombuffer(reply.raw_output_contents[names.index("y")], np.float32)
    assert y.tolist() == [2, 2, 3]
    assert len(house.workers["gpu-1"].messages) == 1


async def test_when_the_only_device_was_lost_the_call_is_unavailable_under_its_code(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].refuse = "EL-1304"

        with anyio.fail_after(5), pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.raw(INFER, request().SerializeToString())

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["ellesmere-code"] == "EL-1304"
