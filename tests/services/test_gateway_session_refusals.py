"""Calls of sessions that a gateway refuses, each with its code, its reason and its bounds."""

import numpy as np
import pytest

from shared.contracts import frame, subjects
from shared.contracts.errors import (
    InvalidMessage,
    InvalidName,
    InvalidTensor,
    SessionOutOfStep,
    UnknownModel,
    UnknownSession,
)
from shared.contracts.v1.sessions import (
    SessionAnswer,
    SessionCall,
)
from shared.tensors.layouts import dense
from tests.services import gateway_house
from tests.services.session_house import PARTS
from tests.services.session_town import asked, town


async def test_call_at_another_step_is_refused() -> None:
    async with town() as town_, town_.session() as session:
        await session.step({"x": PARTS[0]})

        with pytest.raises(SessionOutOfStep, match="at step 7, the call begins at 3"):
            await session.step({"x": PARTS[1]}, at=3)


async def test_session_of_another_tenant_is_unknown() -> None:
    async with town() as town_, town_.session():
        stranger = gateway_house.Client(town_.house.address, tenant="stranger")
        async with stranger:
            with pytest.raises(UnknownSession, match="no session 's'"):
                await stranger.session("spiky", "s").step({"x": PARTS[0]})


async def test_session_of_another_model_is_told_apart() -> None:
    async with town() as town_, town_.session():
        with pytest.raises(InvalidMessage, match="runs 'spiky' 'dense', the call names 'digits'"):
            await town_.house.client.session("digits", "s").step({"x": PARTS[0]})


async def test_session_of_an_unknown_model_is_refused() -> None:
    async with town() as town_:
        with pytest.raises(UnknownModel, match=r"'spikey'.*'spiky'"):
            await town_.house.client.session("spikey", "s").begin()


@pytest.mark.parametrize("name", ["a.b", "a b", "*", "ä", "x" * 65])
async def test_bad_name_of_a_session_is_refused(name: str) -> None:
    async with town() as town_:
        with pytest.raises(InvalidName, match="sequence_id"):
            await town_.session(name).begin()


async def test_unknown_output_and_bad_spikes_are_refused_and_counted_and_do_no_step() -> None:
    async with town() as town_, town_.session() as session:
        with pytest.raises(InvalidTensor, match="no output 'y'"):
            await session.step({"x": PARTS[0]}, outputs=["y"])
        with pytest.raises(InvalidTensor, match="a spike is 0 or 1"):
            await session.step({"x": PARTS[0] + 2})
        await session.step({"x": PARTS[0]}, at=0)
        counted = await town_.house.ask("ModelStatistics", name="spiky")

    (stats,) = (one.inference_stats for one in counted.model_stats)
    assert (stats.fail.count, stats.success.count) == (2, 2)  # with the call that began it


@pytest.mark.parametrize(
    ("parameter", "value", "told"),
    [
        ("sequence_att", 1, "no parameter 'sequence_att'; known: sequence_id"),
        ("sequence_at", -1, "sequence_at: .* greater than or equal to 0, got -1"),
        ("sequence_at", "seven", "sequence_at: .*valid integer"),
        ("sequence_ttl", 1e9, "sequence_ttl: .* less than or equal to 43200"),
        ("sequence_learning", "fast", "sequence_learning: Invalid JSON"),
        (
            "sequence_learning",
            '{"layer": "a", "tau_plus": 0}',
            "sequence_learning.tau_plus: .* got 0",
        ),
    ],
)
async def test_bad_parameters_are_named(parameter: str, value: object, told: str) -> None:
    async with town() as town_:
        request = gateway_house.wire.inference.ModelInferRequest(model_name="spiky")
        request.parameters["sequence_id"].int64_param = 7
        request.parameters["sequence_start"].bool_param = True
        field_ = {int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[parameter], field_, value)

        with pytest.raises(gateway_house.grpc.aio.AioRpcError, match=told):
            await town_.house.infer(request)


async def test_errors_on_nats_carry_their_code_and_fix() -> None:
    async with town() as town_:
        unknown, _ = await asked(town_, SessionCall(), {"x": dense(PARTS[0])})
        reply = await town_.house.bus.request(subjects.session("default", "s"), b"{", timeout=5)
        garbage, _ = frame.decode(reply, SessionAnswer)
        large, _ = await asked(town_, SessionCall(), {"x": dense(np.zeros((1, 90_000, 12), "<f4"))})

    assert large.code == "EL-1108"
    assert unknown.code == "EL-1214"
    assert "fix: begin it with sequence_start" in unknown.message
    assert garbage.code == "EL-1101"
