"""How sparsity and moving shares change over the steps of a training run; pure functions."""

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True, slots=True)
class Cubic:
    """Sparsity that rises fast at first and levels out: s_f + (s_i - s_f)(1 - t)³.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", eq. 1.
    """

    first: float  # share of zeros at `begin`
    last: float  # from `end` on
    begin: int  # step
    end: int  # step
    every: int  # steps between updates

    def __post_init__(self) -> None:
        if not 0.0 <= self.first <= self.last < 1.0:
            raise ValueError(f"sparsity rises within 0..1, got {self.first} to {self.last}")
        if not 0 <= self.begin <= self.end or self.every < 1:
            raise ValueError(
                f"begin, end and every are rising steps, got {self.begin}, {self.end}, {self.every}"
            )

    def due(self, step: int) -> bool:
        """Whether weights are pruned at this step."""
        inside = self.begin <= step <= self.end
        return inside and ((step - self.begin) % self.every == 0 or step == self.end)

    def at(self, step: int) -> float:
        """The share of zeros that holds at a step."""
        span = max(self.end - self.begin, 1)
        done = min(max((step - self.begin) / span, 0.0), 1.0)
        if self.begin == self.end and step >= self.end:
            done = 1.0
        return self.last + (self.first - self.last) * (1 - done) ** 3


def moving(step: int, *, first: float, end: int) -> float:
    """The share of a layer's weights that moves at a step: a cosine from `first` to 0 at `end`.

    Source: Evci et al. 2020, "Rigging the Lottery", section 3 (2).
    """
    if step >= end:
        return 0.0
    return first / 2 * (1 + cos(pi * step / end))
