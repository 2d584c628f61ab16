"""Energy is what sensors tell, over the time they tell it; where they tell nothing, why."""

from pathlib import Path

import pytest

from ops.cli import records
from shared.bus.memory import MemoryBroker
from shared.chassis import sensors
from shared.chassis.energy import Meter
from shared.chassis.sensors import Board, NoSensor
from shared.contracts.v1.jobs import InferBody
from shared.tensors.layouts import dense
from tests.network.streams import STEPS, spiking, trains
from tests.services.compute_house import opened


def package(root: Path, name: str, energy: int, full: int = 1_000_000) -> Path:
    """A counter as Linux shows it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text("package-0\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{full}\n")
    return folder / "energy_uj"


def card(root: Path, name: str, watts: float, device: str = "0x67df") -> Path:
    """A board as amdgpu shows it."""
    folder = root / name
    (folder / "device").mkdir(parents=True)
    (folder / "name").write_text("amdgpu\n")
    (folder / "device" / "device").write_text(f"{device}\n")
    (folder / "power1_average").write_text(f"{int(watts * 1e6)}\n")
    return folder / "power1_average"


def test_a_counter_tells_what_came_since_it_was_read_also_over_its_end(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 900_000)
    (found,) = sensors.packages(tmp_path)

    counter.write_text("950000")
    assert found.taken() == pytest.approx(0.05)
    counter.write_text("150000")  # 50,000 µJ to the end of a million, and 150,000 from its start
    assert found.taken() == pytest.approx(0.20)
    assert found.taken() == 0.0


def test_parts_of_a_package_are_not_counted_twice(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 1)
    package(tmp_path, "intel-rapl:0:0", 1)  # its cores
    package(tmp_path, "intel-rapl:1", 1)

    assert len(sensors.packages(tmp_path)) == 2


def test_power_of_a_board_is_added_up_over_time(tmp_path: Path) -> None:
    times = iter((10.0, 12.0, 15.0))
    power = card(tmp_path, "hwmon0", 30.0)
    board = Board(tmp_path / "hwmon0", lambda: next(times))

    power.write_text("50000000")
    assert board.taken() == pytest.approx(2 * 40.0)  # two seconds between 30 and 50 W
    assert board.taken() == pytest.approx(3 * 50.0)


def test_the_polaris_is_read_beside_another_card(tmp_path: Path) -> None:
    card(tmp_path, "hwmon0", 5.0, device="0x1638")  # of the processor
    card(tmp_path, "hwmon1", 30.0)

    assert len(sensors.board(tmp_path)) == 1
    card(tmp_path, "hwmon2", 30.0)
    with pytest.raises(NoSensor, match="3 power sensors of amdgpu, 2 of Polaris"):
        sensors.board(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSensor, match="no counter of a processor package"):
        sensors.packages(tmp_path)
    with pytest.raises(NoSensor, match="0 power sensors of amdgpu"):
        sensors.board(tmp_path)
    with pytest.raises(NoSensor, match="this kind of device"):
        sensors.none_known()
    package(tmp_path, "intel-rapl:0", 1).write_text("many")
    with pytest.raises(NoSensor, match="energy_uj holds 'many'"):
        sensors.packages(tmp_path)


async def test_a_meter_tells_what_a_block_took(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 100)

    async with Meter(lambda: sensors.packages(tmp_path)).running() as taken:
        counter.write_text("500100")

    assert taken.joules == pytest.approx(0.5)
    assert taken.sensor == "powercap package-0"
    assert taken.readings >= 1
    assert taken.seconds > 0


async def test_work_that_fails_fails_as_it_would_without_a_meter(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 100)

    async def work() -> None:
        async with Meter(lambda: sensors.packages(tmp_path)).running():
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await work()


async def test_a_sensor_that_goes_ends_no_work(tmp_path: Path) -> None:
    counter, ended = package(tmp_path, "intel-rapl:0", 100), []

    async def work() -> None:
        async with Meter(lambda: sensors.packages(tmp_path)).running():
            counter.unlink()
            ended.append(True)

    with pytest.raises(NoSensor, match="energy_uj: No such file"):
        await work()
    assert ended


COUNTING = InferBody(model="spiky", activity=True, repeat=3)
SPIKES = {"x": dense(trains(2, STEPS))}


async def test_a_job_that_counts_spikes_tells_what_its_runs_took(
    memory: MemoryBroker, tmp_path: Path
) -> None:
    counter = package(tmp_path, "intel-rapl:0", 0)

    class Growing(sensors.Package):
        """Every look at it costs a millijoule."""

        def taken(self) -> float:
            counter.write_text(str(int(counter.read_text()) + 1000))
            return super().taken()

    async with opened(memory) as house:
        await house.add("spiky", spiking())
        house.meter = Meter(lambda: [Growing(tmp_path / "intel-rapl:0")])

        report = (await house.run(COUNTING, SPIKES)).report

    assert set(report["layers"]) == {"hidden", "last"}
    energy = report["energy"]
    assert energy["runs"] == 4  # three that were asked for, after one that warms up
    assert energy["joules"] == pytest.approx(1e-3 * energy["readings"])
    assert f"{energy['joules'] / 4 * 1e3:.3g} mJ a run" in records.energy(energy)
    assert "powercap package-0" in records.energy(energy)


async def test_a_worker_without_a_sensor_counts_and_says_why_it_measures_nothing(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.add("spiky", spiking())

        report = (await house.run(COUNTING, SPIKES)).report

    assert report["layers"]["hidden"]["spikes"] > 0
    assert report["energy"] == {"unknown": "no sensor of this kind of device is read"}
    assert records.energy(report["energy"]).startswith("measured energy: unknown, no sensor")
