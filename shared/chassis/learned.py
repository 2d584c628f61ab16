"""The rows that a train job learns from, and the name of its run."""

import hashlib
from collections.abc import Mapping

from shared.contracts.errors import InvalidTensor
from shared.contracts.v1.jobs import TrainBody
from shared.network.training.loop import Rows
from shared.tensors import container
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor

X, LABELS = "train_x", "train_labels"


def rows_of(tensors: Mapping[str, Tensor], rows: str = X, labels: str = LABELS) -> Rows:
    """Rows of a train job: those that it learns from, unless others are named.

    Raises:
        InvalidTensor: one is missing, not dense, not finite, or not as long as the other.
    """
    if missing := [name for name in (rows, labels) if name not in tensors]:
        raise InvalidTensor(f"a train job needs the tensor {missing[0]!r}; got {sorted(tensors)}")
    for name in (rows, labels):
        if tensors[name].layout is not Layout.DENSE or tensors[name].dtype is Dtype.BF16:
            raise InvalidTensor(f"{name} is {tensors[name].layout} {tensors[name].dtype}")
    try:
        return Rows(tensors[rows].values, tensors[labels].values)
    except ValueError as error:
        raise InvalidTensor(f"{rows}, {labels}: {error}") from None


def key(edition: str, body: TrainBody, tensors: Mapping[str, Tensor]) -> str:
    """A hash of all that the result depends on, as the key of its checkpoints.

    Args:
        edition: of the arithmetic.
    """
    asked = body.model_dump_json(exclude={"variant", "worker_class", "model"})
    packed = container.pack({name: tensors[name] for name in (X, LABELS)})
    whole = "\n".join((edition, asked, container.digest(packed)))
    return f"train.{hashlib.sha256(whole.encode()).hexdigest()}"
