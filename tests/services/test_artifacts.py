"""Artifacts on a worker: which are loaded for whom, and for how long."""

import anyio
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis import artifacts
from shared.chassis.artifacts import GUESTS
from shared.contracts.errors import InvalidNetwork
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody
from tests.services.compute_house import House, opened, scaling, store
from tests.services.waiting import until


async def test_an_artifact_that_no_model_has_is_loaded_for_the_job(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await store(house.bus, "unloaded", scaling(5.0), loaded=False)
        outcome = await house.run(InferBody(artifact=sha256))
        assert sha256 in house.artifacts.digests()

    assert outcome.tensors["y"].values[0, 0] == 5.0


async def test_only_the_last_few_guests_stay_loaded(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        resident = await house.add("scale", scaling())
        guests = []
        for number in range(GUESTS + 2):
            network = scaling(10.0 + number)
            guests.append(await store(house.bus, f"guest{number}", network, loaded=False))
            await house.run(InferBody(artifact=guests[-1]))
        await settled(house, {resident, *guests[2:]})

    assert house.backend.held == 0


async def test_bytes_that_are_no_network_are_refused(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        ref = await house.bus.put_blob(b"not a network", keep=True)

        with pytest.raises(InvalidNetwork, match=ref.sha256[:8]):
            await house.run(InferBody(artifact=ref.sha256))


async def test_a_new_artifact_of_a_model_takes_the_place_of_the_old_one(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling(2.0))
        second = await house.add("scale", scaling(4.0))
        await settled(house, {second})
        outcome = await house.run(InferBody(model="scale"))
        assert house.backend.held == 1

    assert outcome.tensors["y"].values[0, 0] == 4.0


async def test_a_manifest_that_does_not_parse_harms_no_other_model(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.bus.put(Bucket.MODELS, "broken", b"{")
        await house.add("scale", scaling())
        outcome = await house.run(InferBody(model="scale"))

    assert outcome.tensors["y"].values[0, 0] == 2.0


async def test_an_artifact_whose_blob_comes_late_is_loaded_then(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "RETRY_EVERY", 0.01)
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        ref = (await house.artifacts.resolve(InferBody(model="scale")))[0]
        assert not isinstance(ref, str)
        data = await house.bus.get_blob(ref)
        entry = await house.bus.get(Bucket.MODELS, "scale")
        assert entry is not None
        await house.bus.remove(Bucket.MODELS, "scale")
        await house.bus.delete_blob(ref)
        await settled(house, set())
        await house.bus.put(Bucket.MODELS, "scale", entry.value or b"")
        await anyio.wait_all_tasks_blocked()
        assert house.artifacts.digests() == ()
        await house.bus.put_blob(data, keep=True)
        await settled(house, {sha256})


async def settled(house: House, wanted: set[str]) -> None:
    """Return once exactly these artifacts are loaded."""
    await until(lambda: set(house.artifacts.digests()) == wanted)
