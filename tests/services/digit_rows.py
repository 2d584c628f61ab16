"""Digits for jobs that learn without labels, and the body of such a job."""

from ops.demo import digits
from shared.contracts.v1.jobs import TrainBody
from shared.contracts.v1.training import Stdp
from shared.tensors import layouts

DIGITS = digits.load()
X, LABELS = DIGITS.x[:300], DIGITS.labels[:300]
HELD_X, HELD_LABELS = DIGITS.held_x[:100], DIGITS.held_labels[:100]
LEARNED = {"train_x": layouts.dense(X), "train_labels": layouts.dense(LABELS)}
ROWS = LEARNED | {"x": layouts.dense(HELD_X), "labels": layouts.dense(HELD_LABELS)}
BODY = TrainBody(
    model="eyes",
    method="stdp",
    variant="first",
    epochs=1,
    seed=3,
    stdp=Stdp(neurons=40, steps=30),
)
FEW = {name: layouts.dense(tensor.values[:30]) for name, tensor in ROWS.items()}
