"""Job frames made by hand, as careless and hostile publishers make them."""

import json
import struct
from dataclasses import dataclass

TENANT = "hostile"
ZEROS = bytes(16)  # the data of `X`
X: dict[str, object] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@dataclass(frozen=True, slots=True)
class Bad:
    """A frame, a part of the reason it is refused for, and its job's id if a reader can tell it."""

    content: bytes
    reason: str
    job: str | None = None


def message(job: str, **fields: object) -> dict[str, object]:
    """A sound job of one `relu`; `fields` replace its own."""
    body = {"kind": "operator", "operator": "relu"}
    sound = {"type": "jobs.submitted.v1", "job": job, "tenant": TENANT, "body": body}
    return sound | fields


def plain(job: str, **fields: object) -> bytes:
    """The job as JSON."""
    return json.dumps(message(job, **fields)).encode()


def packed(header: bytes | dict[str, object], data: bytes = b"", claim: int | None = None) -> bytes:
    """A safetensors file; `claim` is the header length that it tells, if not the true one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if claim is None else claim) + text + data


def header(job: str, *, layouts: str | None = None, **tensors: object) -> dict[str, object]:
    """A safetensors header that carries the job; `tensors` as the header describes them."""
    text = {"message": json.dumps(message(job))}
    if layouts is not None:
        text["layouts"] = layouts
    return {"__metadata__": text, **tensors}


def with_tensor(job: str, data: bytes = ZEROS, **fields: object) -> bytes:
    """The job with one tensor; `fields` replace how it is described."""
    return packed(header(job, x=X | fields), data)


def with_field(job: str, text: str) -> bytes:
    """The job as JSON with one more field, written as no JSON writer would."""
    return plain(job)[:-1] + b", " + text.encode() + b"}"


def ref(shape: list[int]) -> dict[str, object]:
    """A tensor by reference."""
    return {"x": {"blob": {"sha256": "0" * 64, "size": 4}, "dtype": "f32", "shape": shape}}


TWICE = json.dumps(X)
UNREADABLE = {
    "nothing": Bad(b"", "at least 8 bytes, got 0"),
    "garbage": Bad(b"\xfe" * 64, "this one claims"),
    "text": Bad(b"hello, please run this", "this one claims"),
    "null": Bad(b"null", "at least 8 bytes, got 4"),
    "truncated JSON": Bad(plain("cut")[:-9], "EOF while parsing"),
    "deep JSON": Bad(b'{"a":' * 50_000, "recursion limit"),
    "deep field": Bad(with_field("deep", '"z": ' + "[" * 9_000 + "]" * 9_000), "recursion limit"),
    "NaN": Bad(with_field("nan", '"deadline": NaN'), "not JSON"),
    "5000 digits": Bad(with_field("digits", '"deadline": ' + "9" * 5_000), "out of range"),
    "half a character": Bad(with_field("half", '"z": "\\ud800"'), "hex escape"),
    "no id": Bad(b'{"type": "jobs.submitted.v1"}', "job: Field required"),
    "id with a path": Bad(plain("../x"), "job: String should match"),
    "200 MB header": Bad(packed(header("claim"), claim=200 << 20), "this one claims 209715200"),
    "2^63 header": Bad(packed(header("claim"), claim=2**63), "this one claims 9223372036854775808"),
    "cut header": Bad(with_tensor("cut")[:100], "are left"),
    "deep header": Bad(packed(b'{"__metadata__":' + b"[" * 90_000), "nests too deeply"),
    "repeated metadata": Bad(
        packed(b'{"__metadata__":{"message":"{}","message":"{}"}}'), "'message' occurs twice"
    ),
    "repeated tensor": Bad(
        packed(f'{{"x":{TWICE},"x":{TWICE}}}'.encode(), ZEROS), "'x' occurs twice"
    ),
    "half a character in the header": Bad(
        packed(b'{"__metadata__":{"message":"\\ud800"}}'), "half of a surrogate pair"
    ),
    "no message": Bad(packed({"x": X}, ZEROS), "without the metadata key 'message'"),
}
NAMED = {
    "infinite deadline": Bad(
        with_field("infinite", '"deadline": 1e999'),
        "deadline: Input should be a finite",
        "infinite",
    ),
    "priority": Bad(plain("urgent", priority=10), "less than or equal to 9", "urgent"),
    "another type": Bad(plain("typed", type="jobs.finished.v1"), "jobs.submitted.v1", "typed"),
    "unknown kind": Bad(plain("dance", body={"kind": "dance"}), "'dance' found", "dance"),
    "model with a path": Bad(
        plain("escape", body={"kind": "infer", "model": "../x"}), "body.infer.model", "escape"
    ),
    "repeated field": Bad(
        with_field("repeated", '"priority": 1, "priority": 2'),
        "'priority' occurs twice",
        "repeated",
    ),
    "shape bomb": Bad(plain("bomb", tensors=ref([2**40, 2**40])), "2147483647", "bomb"),
    "huge shape": Bad(plain("huge", tensors=ref([10**400])), "2147483647", "huge"),
    "negative shape": Bad(plain("negative", tensors=ref([-1])), "equal to 0", "negative"),
}
BROKEN = {
    "cut data": Bad(with_tensor("cut", ZEROS[:-3]), "which has 13", "cut"),
    "trailing bytes": Bad(with_tensor("trailing", ZEROS + b"!!"), "which has 18", "trailing"),
    "hole": Bad(with_tensor("hole", ZEROS + ZEROS[:4], data_offsets=[4, 20]), "expected 0", "hole"),
    "overlap": Bad(packed(header("overlap", x=X, y=X), ZEROS), "expected 16", "overlap"),
    "wrong span": Bad(with_tensor("span", shape=[2, 3]), "needs 24 bytes", "span"),
    "overflowing shape": Bad(with_tensor("overflow", shape=[2**40, 2**40]), "at most", "overflow"),
    "zero times 2^62": Bad(with_tensor("zero", shape=[0, 2**62]), "at most 32 dim", "zero"),
    "rank 200": Bad(with_tensor("rank", shape=[1] * 200), "at most 32 dimensions", "rank"),
    "unknown dtype": Bad(with_tensor("dtype", dtype="F8_E4M3"), "known: BOOL", "dtype"),
    "deep layouts": Bad(
        packed(header("layouts", layouts="[" * 9_000, x=X), ZEROS), "too deeply", "layouts"
    ),
    "half a sparse tensor": Bad(
        packed(header("sparse", layouts='{"x": {"layout": "csr", "shape": [2, 2]}}', x=X), ZEROS),
        "lacks x.indptr",
        "sparse",
    ),
}
MANY = packed(
    header(
        "many",
        **{str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)},
    )
)
