"""Training of spiking networks as jobs: what spikes cost, and what is told of them."""

from dataclasses import replace

import nir
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis.training import SHOWN
from shared.contracts.errors import InvalidMessage
from shared.contracts.v1.jobs import ImportBody, JobFinished, TrainBody
from shared.contracts.v1.training import Activity
from shared.network import artifact
from shared.tensors import layouts
from tests.network import streams
from tests.network.streams import HIDDEN, INPUTS, OUTPUTS, STEPS
from tests.services.compressor_house import LEARNED, House, network, opened
from tests.services.nir_files import affine, chain, every, lif

BODY = TrainBody(model="spiky", epochs=8, batch=24, rate=0.02, variant="quiet")
ROWS = 300


async def test_a_layer_that_pays_for_its_spikes_makes_fewer_and_the_report_says_so(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await load(house)

        free = layers(await trained(house, None))
        dear = layers(await trained(house, Activity(target=0.05)))

        assert list(free) == list(dear) == ["hidden", "last"]
        assert dear["hidden"]["silence"] > 0.9 > free["hidden"]["silence"]
        assert dear["last"]["operations"] < free["last"]["operations"] / 2


async def test_rates_are_told_of_the_first_rows_learned_from(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await load(house)

        report = (await trained(house, None)).report["activity"]

        assert isinstance(report, dict)
        hidden = report["layers"]["hidden"]
        x = streams.labelled(ROWS).x
        assert report["rows"] == SHOWN < ROWS
        assert hidden["neurons"] == HIDDEN
        assert hidden["operations"] == x[:SHOWN].sum() * HIDDEN
        assert hidden["dense"] == SHOWN * STEPS * INPUTS * HIDDEN
        assert hidden["silence"] == 1 - hidden["spikes"] / (SHOWN * STEPS * HIDDEN)


async def test_a_nir_file_that_ends_in_an_integrator_learns_by_its_potentials(
    memory: MemoryBroker,
) -> None:
    integrator = nir.LI(every(OUTPUTS, 0.05), every(OUTPUTS, 1.0), every(OUTPUTS, 0.0))
    layers = (affine(INPUTS, HIDDEN), lif(HIDDEN), affine(HIDDEN, OUTPUTS), integrator)
    async with opened(memory) as house:
        source = await house.bus.put_blob(chain(*layers, size=INPUTS, made=OUTPUTS))
        await house.run(ImportBody(model="spiky", source=source, format="nir", steps=STEPS))

        rows = streams.labelled(ROWS)
        x, labels = layouts.dense(rows.x), layouts.dense(rows.y)
        given = {"train_x": x, "train_labels": labels, "x": x, "labels": labels}
        report = (await house.run(BODY, given))[0].report

        assert float(str(report["accuracy"])) > float(str(report["baseline_accuracy"])) + 0.2


async def test_a_network_without_spikes_tells_none_and_may_not_pay(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        body = TrainBody(model="net", epochs=1, variant="again")

        finished, _ = await house.run(body, LEARNED)

        assert "activity" not in finished.report
        with pytest.raises(
            InvalidMessage,
            match="body: activity is a cost of spikes, and no layer of the network can spike",
        ):
            await house.run(body.model_copy(update={"activity": Activity()}), LEARNED)


async def load(house: House) -> None:
    """The network that is streamed, its rates first."""
    spiking = replace(streams.spiking(), outputs=("rate",))
    source = await house.bus.put_blob(artifact.pack(spiking))
    await house.run(ImportBody(model="spiky", source=source, format="safetensors"))


async def trained(house: House, activity: Activity | None) -> JobFinished:
    rows = streams.labelled(ROWS)
    learned = {"train_x": layouts.dense(rows.x), "train_labels": layouts.dense(rows.y)}
    return (await house.run(BODY.model_copy(update={"activity": activity}), learned))[0]


def layers(record: JobFinished) -> dict[str, dict[str, float]]:
    report = record.report["activity"]
    assert isinstance(report, dict)
    return dict(report["layers"])
