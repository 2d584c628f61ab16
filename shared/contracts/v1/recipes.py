"""Recipes of compression: stages in their order, every choice named, so that one can be repeated.

A recipe and the rows it reads give the same artifact, bit by bit, once layouts are named.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.contracts.message import Value
from shared.contracts.v1.training import Training

Bits = Annotated[int, Field(ge=2, le=8)]
Ranges = Literal["min_max", "moving", "percentile", "mse", "kl"]


class Prune(Value):
    """Remove weights of dense layers; what is left is stored sparse (row: in smaller layers)."""

    stage: Literal["prune"] = "prune"
    sparsity: float = Field(gt=0.0, lt=1.0)  # share of weights, blocks or rows that go
    score: Literal["magnitude", "wanda", "gradient", "snip"] = "magnitude"
    granularity: Literal["element", "nm", "block", "row"] = "element"
    scope: Literal["global", "uniform", "er", "erk"] = "global"  # not nm, whose pattern says all
    n: int = Field(default=2, ge=1, le=16)  # nm: kept of every m columns; sparsity is 1 - n / m
    m: int = Field(default=4, ge=2, le=16)
    block: Literal[16, 64] = 16  # block: height and width
    min_rows: int = Field(default=32, ge=1)  # layers with fewer outputs stay as they are

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        share = 1 - self.n / self.m
        if self.granularity == "nm" and (
            self.scope != "global" or abs(share - self.sparsity) > 1e-6
        ):
            raise ValueError(
                f"{self.n} of every {self.m} columns stay in every layer, which is a sparsity of "
                f"{share:.6g} whatever the scope; got sparsity {self.sparsity:g} and scope "
                f"{self.scope}: leave the scope out and give that sparsity"
            )
        return self


class Train(Training):
    """Train what there is; sparse weights keep their places unless `sparse` moves them."""

    stage: Literal["train"] = "train"
    fresh: bool = False  # from new random weights


class Equalize(Value):
    """Give both sides of every pair of layers the same ranges per channel."""

    stage: Literal["equalize"] = "equalize"


class Smooth(Value):
    """Move the range of large inputs into the weights that read them, before few bits."""

    stage: Literal["smooth"] = "smooth"
    # share of the difficulty that moves; None: what loses least for each pair of layers
    alpha: float | None = Field(default=0.5, ge=0.0, le=1.0)


class Quantize(Value):
    """Store dense weights in few bits; activations stay float32, or are rounded row by row."""

    stage: Literal["quantize"] = "quantize"
    bits: int = Field(default=8, ge=2, le=8)
    group: int | None = Field(default=None, ge=1)  # columns per scale; None: whole rows
    per_tensor: bool = False  # one scale for all rows
    symmetric: bool = True  # False: every scale comes with a zero, which hides no bit in a sign
    solver: Literal["nearest", "gptq", "awq", "hqq"] = "nearest"
    act_order: bool = True  # gptq
    damping: float = Field(default=0.01, gt=0.0, le=1.0)  # gptq
    bias_correction: bool = False
    # dynamic: every row of x becomes bytes with a scale of its own; static: all rows with one scale
    # that calibration found, and products are integers throughout; None: x stays float32
    activations: Literal["dynamic", "static"] | None = None
    ranges: Ranges = "percentile"  # static: what of the values seen gets codes

    @model_validator(mode="after")
    def _one_sharing(self) -> Self:
        plain = (self.bits, self.group, self.per_tensor, self.symmetric) == (8, None, False, True)
        if self.activations == "static" and not plain:
            raise ValueError(
                "static activations go with symmetric weights of 8 bits and a scale per row, got "
                f"bits {self.bits}, group {self.group}, per_tensor {self.per_tensor}, symmetric "
                f"{self.symmetric}"
            )
        if self.per_tensor and self.group is not None:
            raise ValueError(
                f"per_tensor has one scale for all, group {self.group} one for so many columns: "
                "give one of the two"
            )
        return self


class Adapt(Value):
    """Choose the bits of each layer, or none: least measured loss within the bytes or seconds."""

    stage: Literal["adapt"] = "adapt"
    share: float | None = Field(default=None, gt=0.0, le=1.0)  # of the bytes of the dense layers
    seconds: float | None = Field(default=None, gt=0.0)  # of the dense layers in one call
    bits: tuple[Bits, ...] = Field(default=(4, 8), min_length=1, max_length=7)
    group: int = Field(default=32, ge=1)  # columns per scale up to 4 bits
    solver: Literal["nearest", "gptq", "hqq"] = "gptq"
    layers: dict[str, str] | None = None  # by step, what was chosen; None: choose

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.share is None) == (self.seconds is None):
            raise ValueError(
                f"adapt keeps within a share of the bytes or within seconds, got share "
                f"{self.share} and seconds {self.seconds}: give one of the two"
            )
        return self


class Spike(Value):
    """Dense layers with relu between them become layers of spiking neurons; rates stand for values.

    What comes out answers as before: numbers are encoded, the layers run, scores are decoded.
    """

    stage: Literal["spike"] = "spike"
    steps: int = Field(default=64, ge=1, le=10_000)  # time steps of a call
    share: float = Field(default=0.999, gt=0.5, le=1.0)  # of activations that are told apart
    mode: Literal["evenly", "randomly"] = "evenly"  # how inputs become spikes


class LayOut(Value):
    """Give each sparse layer the layout that is fastest where it will serve, or dense."""

    stage: Literal["lay_out"] = "lay_out"
    values: Literal["f32", "f16", "i8"] = "f32"
    layouts: dict[str, str] | None = None  # by step, what trials chose; None: try them


Stage = Annotated[
    Prune | Train | Equalize | Smooth | Quantize | Adapt | Spike | LayOut,
    Field(discriminator="stage"),
]


class Recipe(Value):
    """What to do with a network, in order."""

    stages: tuple[Stage, ...] = Field(min_length=1, max_length=16)


class Budget(Value):
    """What must be kept to; a number of each kind that is given."""

    size: float | None = Field(default=None, gt=0.0)  # share of the dense bytes up to 1, else bytes
    latency: float | None = Field(default=None, gt=0.0)  # [s] of one call
    accuracy: float | None = Field(default=None, ge=0.0, le=1.0)  # that may be lost
