"""The real machine in a simulated world: two thousand histories by seed, and hypothesis' own."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import Status
from tests.services.scheduler_world import World
from tests.services.world_broker import Faults

SEEDS = 2_000


def live_through(seed: int) -> World:
    """One history: a dozen jobs in a world whose faults the seed decides."""
    rng = random.Random(seed)
    faults = Faults(
        lost=rng.choice((0.0, 0.1, 0.4)),
        doubled=rng.choice((0.0, 0.3)),
        late=rng.choice((0.0, 0.2)),
        refused=rng.choice((0.0, 0.1)),
        unacknowledged=rng.choice((0.0, 0.1)),
    )
    world = World(rng, faults)
    for number in range(rng.randint(4, 14)):
        name = f"j{number}"
        world.submit(
            name,
            tenant=rng.choice("abc"),
            pinned=rng.choice((None, None, "cpu", "gpu-pocl")),
            deadline=rng.choice((None, None, None, rng.uniform(0.0, 4.0))),
            priority=rng.randrange(10),
        )
        if rng.random() < 0.1:
            world.poison(list(world.accepted)[-1])
        _mishap(world, rng, number)
        world.advance(rng.choice((0.0, 0.05, 0.6)))
    world.settle()
    return world


def _mishap(world: World, rng: random.Random, number: int) -> None:
    name = rng.choice(sorted(world.workers))
    match rng.randrange(9):
        case 0:
            world.crash(name)
            world.after(rng.uniform(0.5, 6.0), lambda: world.revive(name))
        case 1:
            world.stall(name, rng.uniform(0.5, 9.0))
        case 2:
            world.after(rng.uniform(0.0, 1.0), world.restart_scheduler)
        case 3:
            victim = rng.choice(sorted(world.accepted))
            world.after(rng.uniform(0.0, 2.0), lambda: world.cancel(victim))
        case 4:
            tenant, job = rng.choice(sorted(world.accepted)).split(".")
            world.submit(job, tenant=tenant, body=rng.choice(("", "another")))
        case _:
            pass


def check_history(world: World) -> None:
    """What must hold when all is quiet."""
    assert world.accepted.keys() == world.records.keys()
    for name, record in world.records.items():
        if record.status is Status.FAILED:
            assert world.poisoned(name) or record.failure is not None
        if world.poisoned(name):
            assert record.status is not Status.SUCCEEDED
        if record.failure is not None and record.failure.code == "EL-1301":
            assert any(f"{x.tenant}.{x.job}" == name for x in world.letters), "no dead letter"


@pytest.mark.parametrize("block", range(8))
def test_every_accepted_job_ends_once_whatever_crashes(block: int) -> None:
    each = SEEDS // 8
    for seed in range(block * each, (block + 1) * each):
        try:
            check_history(live_through(seed))
        except BaseException as error:
            error.add_note(f"failing history: live_through({seed})")
            raise


def test_a_busy_tenant_does_not_starve_another() -> None:
    world = World(random.Random(7), Faults(), Policy(window=32, return_delay=1.0))
    world.last_for(lambda: 0.2)
    for number in range(600):  # 40 s of work for three workers, always beyond the window
        world.submit(f"bulk{number}", tenant="bulk", priority=0)

    waits = []
    for number in range(4):
        world.submit(f"rare{number}", tenant="rare", priority=9)
        asked = world.now
        while f"rare.rare{number}" not in world.records:
            world.advance(0.1)
            assert world.now - asked < 30.0
        waits.append(world.now - asked)

    assert len(world.records) < 600, "the bulk must still be waiting, or nothing was shown"
    assert waits[0] < 25.0  # 600 jobs lie before it, 32 of them are passed over each second
    assert max(waits[1:]) < 3.0  # the others are still set aside


def test_low_priority_is_served_while_urgent_work_never_ends() -> None:
    world = World(random.Random(3), Faults(), Policy(ageing=0.5))
    world.last_for(lambda: 0.2)
    world.submit("humble", priority=9)
    asked = world.now

    for number in itertools.count():
        if "a.humble" in world.records:
            break
        for copy in range(4):  # more than the three workers can do
            world.submit(f"urgent{number}x{copy}", priority=0)
        world.advance(0.2)
        assert world.now - asked < 15.0

    assert world.records["a.humble"].status is Status.SUCCEEDED


class Histories(RuleBasedStateMachine):
    """Hypothesis chooses what happens and when; the world must settle afterwards."""

    @initialize(seed=st.integers(0, 2**16), lost=st.sampled_from((0.0, 0.3)))
    def begin(self, seed: int, lost: float) -> None:
        self.world = World(random.Random(seed), Faults(lost=lost, doubled=0.2, late=0.1))
        self.count = 0

    @rule(
        tenant=st.sampled_from("ab"),
        pinned=st.sampled_from((None, "cpu", "gpu-pocl")),
        deadline=st.none() | st.floats(0.0, 3.0),
    )
    def submit(self, tenant: str, pinned: str | None, deadline: float | None) -> None:
        self.count += 1
        self.world.submit(f"j{self.count}", tenant=tenant, pinned=pinned, deadline=deadline)

    @rule(seconds=st.sampled_from((0.01, 0.3, 2.0)))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(worker=st.sampled_from(("w0", "w1", "w2")))
    def crash(self, worker: str) -> None:
        self.world.crash(worker)

    @rule(worker=st.sampled_from(("w0", "w1", "w2")))
    def revive(self, worker: str) -> None:
        self.world.revive(worker)

    @rule(worker=st.sampled_from(("w0", "w1", "w2")), seconds=st.floats(0.1, 12.0))
    def stall(self, worker: str, seconds: float) -> None:
        self.world.stall(worker, seconds)

    @rule()
    def restart(self) -> None:
        self.world.restart_scheduler()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.world.accepted:
            self.world.cancel(data.draw(st.sampled_from(sorted(self.world.accepted))))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.world.accepted:
            name = data.draw(st.sampled_from(sorted(self.world.accepted)))
            tenant, job = name.split(".")
            self.world.submit(job, tenant=tenant, body=data.draw(st.sampled_from(("", "other"))))

    @invariant()
    def records_are_of_accepted_jobs(self) -> None:
        if hasattr(self, "world"):
            assert self.world.records.keys() <= self.world.accepted.keys()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            check_history(self.world)


Histories.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistories = Histories.TestCase
