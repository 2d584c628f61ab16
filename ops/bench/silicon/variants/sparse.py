"""Products with sparse weights as a card launches them."""

from collections.abc import Iterator

from ops.bench.silicon.configuration import Configuration


def configurations() -> Iterator[Configuration]:
    yield from ()
