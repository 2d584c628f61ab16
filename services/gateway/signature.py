"""Does a request fit the model? Names, datatypes, shapes, the batch dimension, NaN policy."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from services.gateway import translate
from services.gateway.translate import RawTensor
from shared.contracts import subjects
from shared.contracts.errors import InvalidName, InvalidTensor, NonFiniteInput, UnknownModel
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.tensors.dtypes import Dtype

BATCH = -1  # marks the batch dimension in a signature


def model_name(name: str) -> str:
    """Return `name` when a model can be called so.

    Raises:
        InvalidName: it holds anything else than a-z 0-9 . _ -, or is longer than 64.
    """
    if not subjects.NAME.fullmatch(name):
        raise InvalidName(f"model name {name[:80]!r} must match {subjects.NAME.pattern}")
    return name


def variant_of(manifest: ModelManifest, version: str) -> Variant:
    """The variant that a version names; the empty version is the default one.

    Raises:
        InvalidName: no variant can be called so.
        UnknownModel: the model has no such variant.
    """
    if version and not subjects.NAME.fullmatch(version):
        raise InvalidName(f"version {version[:80]!r} must match {subjects.NAME.pattern}")
    variant = manifest.variant(version)
    if variant is None:
        known = ", ".join(variant.name for variant in manifest.variants)
        raise UnknownModel(f"model {manifest.model!r} has no version {version!r}; it has {known}")
    return variant


def near(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says what `name` was perhaps meant to be."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; known: {', '.join(names[:10])}" if names else "; there is none yet"


def check_inputs(manifest: ModelManifest, inputs: Sequence[RawTensor]) -> int:
    """Compare inputs with the signature.

    Returns:
        The rows of the batch; 1 for a model without a batch dimension.

    Raises:
        InvalidTensor: an unknown, missing or wrong input, or batches that differ.
    """
    ports = {port.name: port for port in manifest.inputs}
    for tensor in inputs:
        if tensor.name not in ports:
            raise InvalidTensor(f"no input {tensor.name[:80]!r}{near(tensor.name[:80], ports)}")
    missing = ports.keys() - {tensor.name for tensor in inputs}
    if missing:
        raise InvalidTensor(f"input {min(missing)!r} is missing")
    rows = {tensor.name: _check_input(ports[tensor.name], tensor) for tensor in inputs}
    return _common_batch({name: size for name, size in rows.items() if size is not None})


def check_outputs(manifest: ModelManifest, names: Iterable[str]) -> None:
    """Compare requested outputs with the signature.

    Raises:
        InvalidTensor: the model has no such output.
    """
    known = {port.name for port in manifest.outputs}
    for name in names:
        if name not in known:
            raise InvalidTensor(f"no output {name[:80]!r}{near(name[:80], known)}")


def _check_input(port: PortSignature, tensor: RawTensor) -> int | None:
    """The batch of one input; None when it has no batch dimension."""
    if tensor.dtype != port.dtype:
        wanted, got = translate.NAMES[Dtype(port.dtype)], translate.NAMES[tensor.dtype]
        raise InvalidTensor(f"input {port.name!r} is {wanted}, got {got}")
    fits = len(tensor.shape) == len(port.shape) and all(
        wanted in (BATCH, size) for wanted, size in zip(port.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise InvalidTensor(
            f"input {port.name!r} has shape {list(port.shape)} (-1 is the batch), "
            f"got {list(tensor.shape)}"
        )
    return tensor.shape[0] if port.shape and port.shape[0] == BATCH else None


def _common_batch(rows: dict[str, int]) -> int:
    if len(set(rows.values())) > 1:
        raise InvalidTensor(f"inputs disagree about the batch: {rows}")
    return next(iter(rows.values()), 1)


def refuse_non_finite(inputs: Iterable[RawTensor]) -> None:
    """Look at every value.

    Raises:
        NonFiniteInput: one is NaN or infinity.
    """
    for tensor in inputs:
        bad = translate.first_bad(tensor)
        if bad is not None:
            raise NonFiniteInput(
                f"input {tensor.name!r} is not finite at flat index {bad} "
                f"of shape {list(tensor.shape)}"
            )
