"""The choice of class and worker: pure, sticky, and honest about why there is none."""

import pytest

from services.gateway.faults import Busy
from services.gateway.limits import Limits
from services.gateway.routes import RouteTable, Target
from shared.contracts.errors import ModelNotReady, NoWorker, SuiteError, UnknownModel
from shared.contracts.v1.workers import Heartbeat, WorkerCard
from tests.services.gateway_house import DENSE, manifest, route

MODEL = manifest()
VARIANT = MODEL.variants[0]


def card(name: str, worker_class: str = "cpu", **changes: object) -> WorkerCard:
    whole = WorkerCard(
        worker=name, worker_class=worker_class, service="fake", pid=1, artifacts=(DENSE,)
    )
    return whole.model_copy(update=changes)


def table(*cards: WorkerCard, classes: tuple[str, ...] = ("gpu", "cpu")) -> RouteTable:
    made = RouteTable(Limits(spill=4, full=8))
    made.put_model(MODEL)
    made.put_route(route(MODEL.model, *classes))
    for each in cards:
        made.put_card(each, now=0.0)
    return made


def choose(
    routes: RouteTable,
    waiting: dict[str, int] | None = None,
    *,
    now: float = 0.0,
    **options: object,
) -> Target:
    loads = waiting or {}
    return routes.choose(
        MODEL, VARIANT, load=lambda target, _: loads.get(target.worker, 0), now=now, **options
    )


def test_the_first_class_of_the_route_is_preferred() -> None:
    routes = table(card("c"), card("g", "gpu"))

    assert choose(routes).worker == "g"


def test_a_call_sticks_to_one_worker_until_that_has_enough_waiting() -> None:
    routes = table(card("a"), card("b"))
    first = choose(routes).worker
    second = ({"a", "b"} - {first}).pop()

    assert choose(routes, {first: 3}).worker == first
    assert choose(routes, {first: 4}).worker == second


def test_the_next_class_helps_when_the_first_has_enough_waiting() -> None:
    routes = table(card("c"), card("g", "gpu"))

    assert choose(routes, {"g": 4}).worker == "c"


def test_when_all_have_enough_waiting_the_least_loaded_is_taken() -> None:
    routes = table(card("c"), card("g", "gpu"))

    assert choose(routes, {"g": 6, "c": 5}).worker == "c"


def test_when_all_are_full_the_caller_is_told_so() -> None:
    routes = table(card("c"), card("g", "gpu"))

    with pytest.raises(Busy, match="8 calls waiting"):
        choose(routes, {"g": 8, "c": 8})


def test_a_class_without_a_route_serves_when_the_routed_have_nobody() -> None:
    routes = table(card("n", "gpu-nvidia"))

    assert choose(routes).worker == "n"


def test_a_route_is_not_needed_to_be_served() -> None:
    routes = table(card("c"))
    routes.drop_route(MODEL.model)

    assert choose(routes).worker == "c"


def test_silent_worker_is_asked_only_when_nobody_else_lives() -> None:
    routes = table(card("c"), card("g", "gpu"))
    routes.hear(Heartbeat(worker="c", worker_class="cpu", slots=1, free=1), now=9.0)

    assert choose(routes, now=10.0).worker == "c"
    assert routes.silent(10.0) == ["g"]
    assert choose(routes, now=20.0).worker == "g"  # both silent: the route's order again


def test_another_holder_counts_only_while_it_is_heard_of() -> None:
    routes = table(card("c"), card("g", "gpu"), card("n", artifacts=()))
    routes.hear(Heartbeat(worker="g", worker_class="gpu", slots=1, free=1), now=9.0)

    assert routes.has_other(DENSE, than="c", now=10.0)
    assert not routes.has_other(DENSE, than="g", now=10.0)


def test_draining_worker_is_not_asked() -> None:
    routes = table(card("c"), card("g", "gpu", draining=True))

    assert choose(routes).worker == "c"


def test_excluded_target_is_not_asked_again() -> None:
    routes = table(card("c"), card("g", "gpu"))
    first = choose(routes)

    assert choose(routes, excluded=frozenset({first.subject})).worker == "c"


@pytest.mark.parametrize(
    ("cards", "error"),
    [((), NoWorker), ((card("c", artifacts=()),), ModelNotReady)],
)
def test_why_nobody_can_serve_is_said(
    cards: tuple[WorkerCard, ...], error: type[SuiteError]
) -> None:
    with pytest.raises(error):
        choose(table(*cards))


def test_every_worker_excluded_is_no_worker() -> None:
    routes = table(card("c"))

    with pytest.raises(NoWorker):
        choose(routes, excluded=frozenset({choose(routes).subject}))


def test_a_worker_that_comes_back_is_asked_again() -> None:
    routes = table(card("c"))
    routes.drop_card("c")
    routes.put_card(card("c"), now=1.0)

    assert choose(routes, now=1.0).worker == "c"


def test_artifacts_spread_over_workers_but_each_stays_where_it_is() -> None:
    shas = [f"{index:064x}" for index in range(40)]
    routes = RouteTable(Limits())
    for name in ("a", "b", "c"):
        routes.put_card(card(name, artifacts=tuple(shas)), now=0.0)
    models = []
    for index, sha in enumerate(shas):
        variant = VARIANT.model_copy(
            update={"artifact": VARIANT.artifact.model_copy(update={"sha256": sha})}
        )
        models.append(manifest(f"m{index}", variants=(variant,)))

    def homes() -> list[str]:
        return [routes.choose(m, m.variants[0], load=lambda *_: 0, now=0.0).worker for m in models]

    first = homes()
    routes.drop_card("d")  # an unrelated change makes the table plan anew

    assert first == homes()
    assert min(first.count(name) for name in ("a", "b", "c")) > 4


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="did you mean 'digits'"):
        table().model("digitz")
