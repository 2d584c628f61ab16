"""The search for tuned values on devices that exist on paper: noise, refusals, wrong answers."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.gpu_worker.tuned import search, space
from services.gpu_worker.tuned.search import CONFIRM, GAIN, Found, Refused, Search, frozen
from services.gpu_worker.tuned.space import Field, Values
from services.gpu_worker.tuning import PROCESSOR

FIELDS = (
    Field("xrows", card=(), processor=((1,), (2,), (8,))),
    Field("wrows", card=(), processor=(1, 2, 8)),
    Field("vec", card=(), processor=(4, 8, 16)),
)
EVERY = [
    space.without_defaults(PROCESSOR, {"xrows": x, "wrows": w, "vec": v})
    for x in FIELDS[0].candidates(PROCESSOR)
    for w in FIELDS[1].candidates(PROCESSOR)
    for v in FIELDS[2].candidates(PROCESSOR)
]
Slow = Callable[[Values], float]


@dataclass
class Paper:
    """A device whose times are known, and a clock that its work moves on."""

    seconds: Slow
    noise: Callable[[], float] = lambda: 1.0
    refused: dict[object, str] = field(default_factory=dict)  # by frozen values
    wrong: set[object] = field(default_factory=set)  # in some case of the operator
    build: float = 0.5  # [s]
    now: float = 0.0
    prepared: list[object] = field(default_factory=list)
    timed: Counter[object] = field(default_factory=Counter)

    def prepare(self, values: Values) -> object:
        self.now += self.build
        if reason := self.refused.get(frozen(values)):
            raise Refused(reason)
        self.prepared.append(frozen(values))
        return frozen(values)

    def time(self, values: Values) -> float:
        assert frozen(values) in self.prepared, "timed without a known answer"
        self.timed[frozen(values)] += 1
        passed = self.seconds(values) * self.noise()
        self.now += passed
        return passed

    def vet(self, values: Values) -> None:
        if frozen(values) in self.wrong:
            raise Refused("wrong answer of case odd_sizes")

    def search(self, budget: float = 1e9) -> Search:
        return Search(FIELDS, PROCESSOR, lambda values: None, self, lambda: self.now > budget)


def separate(costs: dict[object, float]) -> Slow:
    """Each field contributes a factor of its own, so that the best is the best of each."""

    def seconds(values: Values) -> float:
        whole = 0.01
        for name in ("xrows", "wrows", "vec"):
            whole *= costs[name, values.get(name, getattr(PROCESSOR, name))]
        return whole

    return seconds


def drawn(rng: random.Random) -> dict[object, float]:
    return {
        (each.name, value): rng.uniform(0.3, 3.0)
        for each in FIELDS
        for value in each.candidates(PROCESSOR)
    }


def test_without_noise_the_best_of_separate_fields_is_found() -> None:
    for seed in range(1000):
        paper = Paper(separate(drawn(random.Random(seed))))

        found = paper.search().run()

        best = min(map(paper.seconds, EVERY))
        assert found.seconds == pytest.approx(paper.seconds(found.values))
        assert found.seconds <= best * search.LEAD**3 * GAIN  # a lead is asked of each field
        assert found.complete


def test_noise_never_makes_a_loss_of_a_gain() -> None:
    kept = 0
    for seed in range(3000):
        rng = random.Random(seed)
        paper = Paper(separate(drawn(rng)), noise=lambda rng=rng: 1.0 + abs(rng.gauss(0.0, 0.05)))

        found = paper.search().run()

        start = paper.seconds({})
        assert paper.seconds(found.values) <= start * 1.02
        kept += bool(found.values)
    assert kept > 2000  # and gains are found all the same


def test_on_a_device_where_nothing_matters_noise_alone_is_hardly_ever_kept() -> None:
    kept = 0
    for seed in range(1000):
        rng = random.Random(seed)
        paper = Paper(lambda values: 0.01, noise=lambda rng=rng: rng.uniform(0.9, 1.1))
        kept += bool(paper.search().run().values)

    assert kept < 50


def test_what_is_refused_or_wrong_is_never_chosen_and_is_told() -> None:
    for seed in range(1000):
        rng = random.Random(seed)
        paper = Paper(separate(drawn(rng)))
        others = [values for values in EVERY if values]
        paper.refused = {frozen(v): "BuildFailed: no" for v in rng.sample(others, 20)}
        paper.wrong = {frozen(v) for v in rng.sample(others, 20)}

        found = paper.search().run()

        assert frozen(found.values) not in paper.refused
        assert frozen(found.values) not in paper.wrong
        assert not paper.timed.keys() & paper.refused.keys()
        told = {frozen(each.values) for each in found.tried if each.refused}
        assert told <= paper.refused.keys() | paper.wrong
        assert paper.seconds(found.values) <= paper.seconds({})


def test_the_same_times_give_the_same_search() -> None:
    def once(seed: int) -> tuple[Found, list[object]]:
        rng = random.Random(seed)
        paper = Paper(separate(drawn(rng)), noise=lambda: 1.0 + rng.random() / 10)
        return paper.search().run(), paper.prepared

    assert all(once(seed) == once(seed) for seed in range(100))


def test_after_the_budget_nothing_new_is_begun() -> None:
    for seed in range(500):
        rng = random.Random(seed)
        paper = Paper(separate(drawn(rng)))
        budget = rng.uniform(0.0, 8.0)

        found = paper.search(budget).run()

        slowest = max(map(paper.seconds, EVERY))
        assert paper.now <= budget + paper.build * 2 + slowest * (CONFIRM + 1) * 6
        assert found.complete or len(paper.prepared) < len(EVERY)
        assert paper.seconds(found.values) <= paper.seconds({})


def test_a_budget_of_nothing_still_measures_the_start_values() -> None:
    found = Paper(lambda values: 0.01).search(budget=0.0).run()

    assert found == Found({}, 0.01, 0.01, CONFIRM, (), complete=False)


def test_values_that_were_good_before_are_tried_first_and_again() -> None:
    costs = drawn(random.Random(3)) | {("wrows", 8): 0.1}
    paper = Paper(separate(costs))

    found = paper.search(budget=1.0).run({"wrows": 8})  # two builds, and the time is up

    assert paper.prepared[1] == (("wrows", 8),)
    assert found.values == {"wrows": 8}


def test_values_that_come_to_the_same_launch_are_measured_once() -> None:
    paper = Paper(lambda values: 0.01)
    paper.prepare = lambda values: paper.prepared.append(frozen(values))  # type: ignore[method-assign,func-returns-value,assignment]

    found = paper.search().run()

    assert set(paper.timed) == {()}
    assert found.tried == ()


def test_start_values_that_cannot_be_used_end_the_search() -> None:
    paper = Paper(lambda values: 0.01, refused={(): "LimitExceeded: no room"})

    with pytest.raises(Refused, match="no room"):
        paper.search().run()


def test_a_machine_that_slows_down_half_way_misleads_nobody() -> None:
    """Contenders take turns: from the 40th sample on everything takes three times as long."""
    for seed in range(300):
        paper = Paper(separate(drawn(random.Random(seed))))
        paper.noise = lambda paper=paper: 3.0 if sum(paper.timed.values()) > 40 else 1.0

        found = paper.search().run()

        assert paper.seconds(found.values) <= paper.seconds({})


def test_one_far_behind_leaves_after_two_samples() -> None:
    paper = Paper(lambda values: 0.1 if values else 0.01)
    paper.prepared = [(), (("wrows", 1),)]

    medians = search.compare(paper, [{}, {"wrows": 1}], rounds=5)

    assert paper.timed == {(): 6, (("wrows", 1),): 3}  # one more each to warm up
    assert medians == pytest.approx([0.01, 0.1])


@pytest.mark.parametrize(("slower", "held"), [(0.8, True), (1.04, True), (1.06, False)])
def test_stored_values_hold_until_they_are_five_percent_slower(slower: float, held: bool) -> None:
    paper = Paper(lambda values: 0.01 * slower if values else 0.01)

    assert search.holds(paper, {"wrows": 8}) is held


def test_one_bad_comparison_does_not_cost_stored_values() -> None:
    paper = Paper(lambda values: 0.01)
    paper.seconds = lambda values: 0.02 if values and paper.timed.total() < 10 else 0.01

    assert search.holds(paper, {"wrows": 8})
