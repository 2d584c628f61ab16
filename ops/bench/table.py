"""Results of `flow` as the table that the README shows; ``python -m ops.bench.table`` prints it."""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "flow.json"
OURS = "ellesmere"


def markdown(found: dict) -> str:
    """Medians per server and concurrency, and ours over the best MLServer of the same run."""
    by = found["interactive"]
    counts = list(by[OURS])
    lines = [
        "| | " + " | ".join(f"{count} in flight: p50, p99, requests/s" for count in counts) + " |",
        "| --- |" + " --- |" * len(counts),
    ]
    for name, cells in by.items():
        lines.append(f"| {name} | " + " | ".join(_cell(cells[count]) for count in counts) + " |")
    ratios = [_ratio(by, count) for count in counts]
    lines.append("| ellesmere over the best MLServer | " + " | ".join(ratios) + " |")
    machine, decision, durable = found["machine"], found["decision"], found["durable"]
    floor = found["floor"]
    lines += [
        "",
        f"{machine['cpu']}, {machine['cores']} cores shared by client, servers and broker; "
        f"commit {machine['commit']}, {machine['date'][:10]}. {found['device']}.",
        f"Floor of one call in the same run: a gRPC call that does nothing {_ms(floor['grpc'])}, "
        f"a NATS request {_ms(floor['nats'])}, the product {_ms(floor['product'])}.",
        f"A scheduling decision takes {_us(decision['p50'])} (p99 {_us(decision['p99'])}) in "
        f"process; a durable job starts {_ms(durable['p50'])} after its submission "
        f"(p99 {_ms(durable['p99'])}), both stored with fsync.",
    ]
    return "\n".join(lines)


def _cell(cell: dict[str, float]) -> str:
    if not cell:
        return "no window with steal ≤ 5 %"
    return f"{_ms(cell['p50'])}, {_ms(cell['p99'])}, {cell['rate']:.0f}"


def _ratio(by: dict, count: str) -> str:
    """Our median and rate over those of the best rival."""
    rivals = [cells[count] for name, cells in by.items() if name != OURS and cells[count]]
    ours = by[OURS][count]
    if not rivals or not ours:
        return "–"
    p50 = ours["p50"] / min(rival["p50"] for rival in rivals)
    rate = ours["rate"] / max(rival["rate"] for rival in rivals)
    return f"p50 × {p50:.2f}, requests/s × {rate:.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


if __name__ == "__main__":
    sys.stdout.write(markdown(json.loads(RESULTS.read_text())) + "\n")
