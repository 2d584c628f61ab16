"""Tuned values on disk and in the bucket: only what the tuner could have found is ever used."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from structlog.testing import capture_logs

import kernels
from services.gpu_worker import tuning
from services.gpu_worker.tuned import entry, exchange, problems, space, store
from services.gpu_worker.tuned.entry import Document, Entry, Unreadable
from services.gpu_worker.tuned.store import NotStored, Store, TuneRunning
from services.gpu_worker.tuning import CARD, PROCESSOR
from shared.bus.memory import MemoryBroker
from shared.contracts.errors import BusUnavailable
from shared.contracts.subjects import Bucket
from shared.operators import catalog

DEVICE = SimpleNamespace(name="paper", driver="ink 1", worker_class="gpu-pocl")
KEY = store.key_of("paper", "ink 1", PROCESSOR)
PROBLEM = problems.of("gemm_f32")[0]
ENTRY = Entry("gemm_f32", PROBLEM.shape, PROBLEM.name, {"wrows": 8, "xrows": (2,)}, 0.1, 0.2, 21)
DOCUMENT = Document(entry.FORMAT, KEY, "paper", "ink 1", (ENTRY,))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = Store(tmp_path).write(DOCUMENT)

    assert path == tmp_path / "tuned" / f"{KEY}.json"
    assert Store(tmp_path).read(KEY, PROCESSOR) == DOCUMENT
    assert ENTRY.gain == pytest.approx(2.0)
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing partial is left


def test_nothing_stored_is_no_word_of_complaint(tmp_path: Path) -> None:
    with capture_logs() as said:
        assert Store(tmp_path).read(KEY, PROCESSOR) is None

    assert said == []


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held | {"format": 2},
        lambda held: held | {"key": "0" * 64},
        lambda held: held | {"more": 1},
        lambda held: {name: held[name] for name in held if name != "device"},
        lambda held: held | {"entries": {}},
        lambda held: changed(held, operator="nosuch"),
        lambda held: changed(held, operator="reshape"),
        lambda held: changed(held, shape="x=dense.f32:1"),
        lambda held: changed(held, problem="3x3"),
        lambda held: changed(held, values={"wrows": 3}),
        lambda held: changed(held, values={"wrows": "8"}),
        lambda held: changed(held, values={"wrows": True}),
        lambda held: changed(held, values={"aligned": 1}),
        lambda held: changed(held, values={"lanes": 64}),  # a card's
        lambda held: changed(held, values={"worker_class": 1}),
        lambda held: changed(held, seconds=0.0),
        lambda held: changed(held, seconds=-1.0),
        lambda held: changed(held, start_seconds=1e9),
        lambda held: changed(held, samples=0),
        lambda held: changed(held, seconds="fast"),
        lambda held: [],
        lambda held: None,
        lambda held: "[" * 100_000,
    ],
)
def test_a_document_that_no_tuner_wrote_is_ignored_with_a_line(
    tmp_path: Path, change: object
) -> None:
    path = Store(tmp_path).write(DOCUMENT)
    made = change(json.loads(path.read_bytes()))  # type: ignore[operator]
    path.write_text(made if isinstance(made, str) else json.dumps(made))

    with capture_logs() as said:
        assert Store(tmp_path).read(KEY, PROCESSOR) is None

    assert [(line["event"], line["path"]) for line in said] == [("tuned.ignored", str(path))]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"{}" * 2**20, bytes(64)])
def test_a_damaged_file_is_ignored_with_a_line(tmp_path: Path, content: bytes) -> None:
    path = Store(tmp_path).write(DOCUMENT)
    path.write_bytes(content)

    with capture_logs() as said:
        assert Store(tmp_path).read(KEY, PROCESSOR) is None

    assert said[0]["event"] == "tuned.ignored"


def test_every_flipped_byte_gives_start_values_or_a_sound_document() -> None:
    content = entry.encode(DOCUMENT)
    for place in range(len(content)):
        for flip in (1, 32, 128):
            damaged = bytearray(content)
            damaged[place] ^= flip
            try:
                found = entry.decode(bytes(damaged), KEY, PROCESSOR)
            except Unreadable:
                continue
            for each in found.entries:
                assert space.refuses(each.operator, PROCESSOR, each.values) is None


def test_another_device_driver_source_or_start_value_is_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {
        KEY,
        store.key_of("paper 2", "ink 1", PROCESSOR),
        store.key_of("paper", "ink 2", PROCESSOR),
        store.key_of("paper", "ink 1", CARD),
        store.key_of("paper", "ink 1", replace(PROCESSOR, wrows=2)),
    }
    plain = kernels.digest
    monkeypatch.setattr(kernels, "digest", lambda name: plain(name) + "x" * (name == "clip"))
    keys.add(store.key_of("paper", "ink 1", PROCESSOR))

    assert len(keys) == 6


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tuned").write_text("a file where the folder should be")

    with pytest.raises(NotStored, match="tuned"):
        Store(tmp_path).write(DOCUMENT)
    with pytest.raises(NotStored, match="lock"), Store(tmp_path).locked():
        pass
    with capture_logs() as said:
        assert Store(tmp_path).read(KEY, PROCESSOR) is None
    assert said[0]["event"] == "tuned.ignored"


def test_only_one_process_tunes_with_a_cache(tmp_path: Path) -> None:
    with Store(tmp_path).locked(), multiprocessing.get_context("spawn").Pool(1) as pool:
        refused = pool.apply(locks, (tmp_path,))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        free = pool.apply(locks, (tmp_path,))

    assert (refused, free) == ("TuneRunning", "locked")


def locks(cache: Path) -> str:
    try:
        with Store(cache).locked():
            return "locked"
    except TuneRunning as error:
        return type(error).__name__


def test_every_problem_is_of_the_class_that_its_call_is() -> None:
    for spec in catalog.CATALOG:
        for problem in problems.of(spec.name):
            if "4096" in problem.name:
                continue  # the same code, and a second each
            case = problem.case()
            types = {port: tensor.type for port, tensor in case.inputs.items()}
            assert problem.shape == space.of(spec.name).shape_class(types, case.attributes)


def test_no_two_problems_of_an_operator_share_a_class_or_a_name() -> None:
    for spec in catalog.CATALOG:
        found = problems.of(spec.name)
        assert len({each.shape for each in found}) == len({each.name for each in found})
        assert len({each.shape for each in found}) == len(found)
        assert bool(found) == bool(space.of(spec.name).fields)


def test_start_values_are_allowed_on_both_kinds_of_device() -> None:
    for start in (tuning.CARD, tuning.PROCESSOR):
        for spec in catalog.CATALOG:
            assert space.refuses(spec.name, start, {}) is None
            for each in space.of(spec.name).fields:
                first = each.candidates(start)[0]
                assert space.refuses(spec.name, start, {each.name: first}) is None


async def test_a_worker_publishes_what_its_cache_holds(tmp_path: Path) -> None:
    bus, adopted = MemoryBroker().connect("w"), []
    Store(tmp_path).write(DOCUMENT)

    await exchange.exchange(bus, Store(tmp_path), DEVICE, adopted.append)

    shared = await bus.get(Bucket.ROUTES, f"tuned.{KEY}")
    assert shared is not None
    assert entry.decode(shared.value or b"", KEY, PROCESSOR) == DOCUMENT
    assert adopted == []


async def test_a_worker_without_values_takes_and_keeps_those_of_the_bucket(tmp_path: Path) -> None:
    bus, adopted = MemoryBroker().connect("w"), []
    await bus.put(Bucket.ROUTES, f"tuned.{KEY}", entry.encode(DOCUMENT))

    await exchange.exchange(bus, Store(tmp_path), DEVICE, adopted.append)

    assert adopted == [entry.encode(DOCUMENT)]
    assert Store(tmp_path).read(KEY, PROCESSOR) == DOCUMENT


async def test_values_from_the_bucket_are_used_where_they_cannot_be_kept(tmp_path: Path) -> None:
    bus, adopted = MemoryBroker().connect("w"), []
    await bus.put(Bucket.ROUTES, f"tuned.{KEY}", entry.encode(DOCUMENT))
    (tmp_path / "tuned").write_text("a file where the folder should be")

    await exchange.exchange(bus, Store(tmp_path), DEVICE, adopted.append)

    assert adopted == [entry.encode(DOCUMENT)]


async def test_nonsense_in_the_bucket_is_ignored_with_a_line(tmp_path: Path) -> None:
    bus, adopted = MemoryBroker().connect("w"), []
    foreign = msgspec.structs.replace(DOCUMENT, entries=(changed_entry(values={"wrows": 99}),))
    await bus.put(Bucket.ROUTES, f"tuned.{KEY}", entry.encode(foreign))

    with capture_logs() as said:
        await exchange.exchange(bus, Store(tmp_path), DEVICE, adopted.append)

    assert adopted == []
    assert [line["event"] for line in said] == ["tuned.ignored"]
    assert not Store(tmp_path).path(KEY).exists()


async def test_a_bus_that_fails_costs_nothing_but_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(bucket: Bucket, key: str) -> None:
        raise BusUnavailable("no")

    bus = MemoryBroker().connect("w")
    monkeypatch.setattr(bus, "get", fails)

    with capture_logs() as said:
        await exchange.exchange(bus, Store(tmp_path), DEVICE, print)

    assert [line["event"] for line in said] == ["tuned.not_exchanged"]


def changed_entry(**fields: object) -> Entry:
    return msgspec.structs.replace(ENTRY, **fields)


def changed(held: dict[str, object], **fields: object) -> dict[str, object]:
    first = held["entries"][0]  # type: ignore[index]
    return held | {"entries": [first | fields]}
