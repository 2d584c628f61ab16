"""The rows that a compress job brings: held against the model before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.contracts.errors import InvalidTensor, NonFiniteInput
from shared.contracts.v1.models import ModelManifest, PortSignature
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Layout, Tensor

ROWS, LABELS = "x", "labels"
OWN = (ROWS, LABELS)  # of the tensors of a job


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Rows and what they are. `x` (n, ...) of the model's input, `labels` (n,) int64."""

    port: str
    output: str
    x: Array
    labels: npt.NDArray[np.int64]

    def batch(self, rows: int) -> dict[str, Tensor]:
        """Exactly `rows` rows by input name, repeated from the start when there are fewer."""
        places = np.arange(rows) % len(self.x)
        return {self.port: layouts.dense(self.x[places])}

    def chunks(self, rows: int) -> list[dict[str, Tensor]]:
        """All rows by input name, at most `rows` at a time, in order."""
        starts = range(0, len(self.x), rows)
        return [{self.port: layouts.dense(self.x[start : start + rows])} for start in starts]

    def correct(self, scores: Array) -> int:
        """Rows whose largest score is at their label; a row that holds NaN is wrong.

        Args:
            scores: (n, classes), one row per label.

        Raises:
            InvalidTensor: another shape.
        """
        if scores.ndim != 2 or len(scores) != len(self.labels):
            raise InvalidTensor(f"scores are {scores.shape} for {len(self.labels)} labels")
        sound = ~np.isnan(scores).any(axis=1)
        return int(((scores.argmax(axis=1) == self.labels) & sound).sum())


def read(manifest: ModelManifest, tensors: Mapping[str, Tensor]) -> Labelled:
    """Check the tensors of a compress job.

    Raises:
        InvalidTensor: `x` or `labels` is missing, empty, or does not fit the model or each other.
        NonFiniteInput: `x` holds NaN or infinity.
    """
    port, output = _classifier(manifest)
    if tensors.keys() != {ROWS, LABELS}:
        raise InvalidTensor(f"the job needs tensors {ROWS!r} and {LABELS!r}, not {sorted(tensors)}")
    x, labels = _dense(tensors, ROWS), _dense(tensors, LABELS)
    wanted = port.shape[1:]
    if tensors[ROWS].dtype != port.dtype or x.ndim < 1 or x.shape[1:] != wanted:
        shown = ", ".join(["n", *map(str, wanted)])
        raise InvalidTensor(f"x is {port.dtype} ({shown}), not {tensors[ROWS].dtype} {x.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != (len(x),) or not len(x):
        raise InvalidTensor(
            f"labels are one integer per row and at least one, not {labels.dtype} {labels.shape} "
            f"for {len(x)} rows"
        )
    classes, classified = output.shape[1], labels.astype(np.int64)
    if (bad := classified[(classified < 0) | (classified >= classes)]).size:
        raise InvalidTensor(f"label {bad[0]} is not one of the {classes} classes of the model")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise NonFiniteInput("x holds NaN or infinity; accuracy cannot be measured on it")
    return Labelled(port.name, output.name, x, classified)


def _classifier(manifest: ModelManifest) -> tuple[PortSignature, PortSignature]:
    """The one input and the scores of a model that labels can be held against."""
    if len(manifest.inputs) != 1 or manifest.inputs[0].shape[:1] != (-1,):
        names = ", ".join(port.name for port in manifest.inputs)
        raise InvalidTensor(f"compress takes models with one batched input, this has {names}")
    scores = manifest.outputs[0]
    if len(scores.shape) != 2 or scores.shape[0] != -1 or scores.shape[1] < 2:
        raise InvalidTensor(
            f"output {scores.name!r} is {scores.shape}; labels need scores of (batch, classes)"
        )
    return manifest.inputs[0], scores


def _dense(tensors: Mapping[str, Tensor], name: str) -> Array:
    tensor = tensors[name]
    if tensor.layout is not Layout.DENSE:
        raise InvalidTensor(f"{name} is {tensor.layout}; send it dense")
    return tensor.values
