"""The table of every kernel that a card launches: what it needs, what a trip of its loop costs."""

from collections.abc import Iterable, Mapping
from functools import cache

from ops.bench.silicon import assembly, compiler
from ops.bench.silicon.assembly import Built
from ops.bench.silicon.compiler import DoesNotCompile, Target
from ops.bench.silicon.configuration import Configuration
from ops.bench.silicon.variants import dense, plain, quantized, sparse

FAMILIES = (dense, quantized, sparse, plain)
Row = dict[str, object]

_TITLE = """# Kernels on the card

What the offline compiler ({compiler}) makes of every kernel in every form that a card launches,
for gfx803, the instruction set of an RX 580. These are counts, not times: no card was involved.
`python -m ops.bench.silicon` writes this page and `ops/bench/results/silicon.json`; a test holds
both against what the compiler says.

- Registers are vector / scalar ones of a work-item. Waves are the wavefronts that a SIMD holds of
  the kernel, of 10: registers and local memory decide.
- Hot loop is the innermost loop with most multiplications with addition: its vector instructions in
  one trip, how many of them are such products (an operand with two rows of 4-bit weights counts
  twice), and what it loads from global memory into vector registers.
- Per weight is the hot loop's vector instructions by the weights it loads, for products whose loop
  says how many those are. At 215 GB/s the card can issue 14 instructions per byte: 56 for a float
  weight, 14 for one of 8 bits, 7 for one of 4.

"""
_HEAD = (
    "| kernel | defines | group | registers | local bytes | waves | code bytes |"
    " hot loop: vector, products, loads | per weight |\n|" + " --- |" * 9 + "\n"
)


def configurations() -> tuple[Configuration, ...]:
    """Everything that a card launches."""
    return tuple(found for family in FAMILIES for found in family.configurations())


@cache
def assembled(target: Target) -> Mapping[str, str | DoesNotCompile]:
    """Every configuration's assembly by label, or why there is none; raises CompilerMissing."""
    return compiler.assemble_all(configurations(), target)


@cache
def built(configuration: str) -> Built:
    """What the compiler says of one configuration, by its label.

    Raises:
        CompilerMissing: see `compiler.find`.
        DoesNotCompile: this one does not.
    """
    made = assembled(compiler.GFX803)[configuration]
    if isinstance(made, DoesNotCompile):
        raise made
    return assembly.read(made, configuration.split("-", 1)[0])


def per_weight(configuration: Configuration, kernel: Built) -> float | None:
    """Vector instructions per weight in the hot loop; None where it loads no weights.

    Raises:
        ValueError: the loop does not load what the configuration says one trip does.
    """
    trip, hot = configuration.trip, kernel.hot
    if trip is None or hot is None:
        return None
    trips, left = divmod(hot.loaded, trip.loaded)
    if left or not trips:
        said = f"{trip.loaded} bytes per trip, its hot loop loads {hot.loaded}: {dict(hot.loads)}"
        raise ValueError(f"{configuration.label} is said to load {said}")
    return hot.vector / (trips * trip.weights)


def rows() -> list[Row]:
    """One row of plain values per configuration."""
    return [_row(entry, built(entry.label)) for entry in configurations()]


def document() -> dict[str, object]:
    """What is written to results/silicon.json."""
    return {"compiler": f"{compiler.COMPILER} {compiler.version()}", "kernels": rows()}


def page(found: Mapping[str, object], table: Iterable[Row]) -> str:
    """The same as a page of Markdown."""
    lines = "".join(_line(row) for row in table)
    return _TITLE.format(compiler=found["compiler"]) + _HEAD + lines


def _row(entry: Configuration, kernel: Built) -> Row:
    hot, share = kernel.hot, per_weight(entry, kernel)
    return {
        "kernel": entry.entry,
        "operator": entry.operator,
        "defines": dict(sorted(entry.defines.items())),
        "group": kernel.group,
        "vector_registers": kernel.vector_registers,
        "vector_registers_allowed": entry.budget,
        "scalar_registers": kernel.scalar_registers,
        "local_bytes": kernel.local_bytes,
        "waves": kernel.waves,
        "code_bytes": kernel.code_bytes,
        "hot_vector": hot.vector if hot else None,
        "hot_products": hot.products if hot else None,
        "hot_loads": dict(sorted(hot.loads.items())) if hot else None,
        "vector_per_weight": None if share is None else round(share, 2),
    }


def _line(row: Row) -> str:
    defines, loads = row["defines"], row["hot_loads"]
    assert isinstance(defines, dict)
    chosen = ", ".join(f"{key} {value}" for key, value in defines.items())
    loop = "none"
    if isinstance(loads, dict):
        listed = " + ".join(f"{count} {width}" for width, count in loads.items()) or "no loads"
        loop = f"{row['hot_vector']}, {row['hot_products']}, {listed}"
    share = "" if row["vector_per_weight"] is None else f"{row['vector_per_weight']:.2f}"
    registers = f"{row['vector_registers']} / {row['scalar_registers']}"
    cells = (f"`{row['kernel']}`", chosen, row["group"], registers, row["local_bytes"])
    cells = (*cells, row["waves"], row["code_bytes"], loop, share)
    return "| " + " | ".join(map(str, cells)) + " |\n"
