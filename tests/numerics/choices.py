"""Questions and devices for the tests of choosing a layout."""

from shared.sparse import choose, features
from shared.sparse.candidates import Candidate
from shared.sparse.choose import Choice, Question
from shared.sparse.features import Features
from shared.sparse.trials import Answer, Failure, Trial
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout
from tests.numerics import sparse_samples
from tests.numerics.sparse_samples import csr

CSR = Candidate(Layout.CSR)
SELL = Candidate(Layout.SELL)
DEVICE = {"device": "a card", "driver": "1.0"}
FEW = choose.TRIED


def seen(matrix: F32) -> Features:
    return features.of(csr(matrix))


def ordinary(share: float = 0.05) -> Features:
    return seen(sparse_samples.random(200, 300, share))


def constant(**seconds: Answer | float) -> choose.Measure:
    """A device on which each layout takes a constant time, conversions none."""

    def measure(candidate: Candidate) -> Answer:
        told = seconds.get(candidate.layout.value, 10.0)
        return told if isinstance(told, Trial | Failure) else Trial(told, 0.0)

    return measure


def chosen(question: Question, measure: choose.Measure) -> Choice:
    return choose.layout(question, measure, **DEVICE)
