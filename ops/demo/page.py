"""The demo's page: one self-contained HTML file beside its pictures."""

import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template

from ops.demo.findings import Findings, VariantRow

TEMPLATE = Path(__file__).with_name("page.html")


def write(findings: Findings, pictures: list[Path], folder: Path) -> Path:
    """Write index.html and findings.json into `folder`; returns the page."""
    page = folder / "index.html"
    page.write_text(Template(TEMPLATE.read_text()).substitute(_fields(findings, pictures)))
    (folder / "findings.json").write_text(json.dumps(plain(findings), indent=1, default=str))
    return page


def _fields(findings: Findings, pictures: list[Path]) -> dict[str, str]:
    return {
        "seconds": f"{findings.seconds:.0f}",
        "machine": escape(f"{findings.machine.get('cpu')}, {findings.machine.get('cores')} cores"),
        "commit": escape(str(findings.machine.get("commit"))),
        "date": escape(str(findings.machine.get("date"))),
        "devices": "".join(map(_device, findings.devices)),
        "coverage": escape(", ".join(f"{n} × {name}" for name, n in findings.coverage.items())),
        "classes": "".join(f"<th>{escape(name)} p50 / p99</th>" for name in classes(findings)),
        "variants": "".join(_variant(row, classes(findings)) for row in findings.variants),
        "refused": "".join(f"<li>{escape(line)}</li>" for line in findings.refused),
        "operator_job": escape(findings.operator_job),
        "kill": escape(_kill(findings)),
        "spiking": escape(_spiking(findings)),
        "pictures": json.dumps([picture.name for picture in pictures]),
        **{f"{name}_png": _figure(name, pictures) for name in ("variants", "timeline", "spikes")},
    }


def classes(findings: Findings) -> list[str]:
    """Worker classes that any variant was timed on."""
    return sorted({name for row in findings.variants for name in row.p50})


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, or a dash."""
    return "–" if seconds is None else f"{seconds * 1e3:.3g} ms"


def _device(device: dict[str, object]) -> str:
    cells = "".join(f"<td>{escape(str(value))}</td>" for value in device.values())
    return f"<tr>{cells}</tr>"


def _variant(row: VariantRow, names: list[str]) -> str:
    times = "".join(
        f"<td class=n>{milliseconds(row.p50.get(name))} / {milliseconds(row.p99.get(name))}</td>"
        for name in names
    )
    low, high = row.interval
    return (
        f"<tr><td>{escape(row.name)}</td><td class=n>{row.bytes:,}</td>"
        f"<td class=n>{row.accuracy:.2%}<br><small>{low:.1%} to {high:.1%}</small></td>"
        f"{times}<td class=n>{milliseconds(row.served_p50)}</td>"
        f"<td><b>{escape(row.placed_on)}</b> {escape(row.reason)}</td>"
        f"<td>{escape(row.verdict)}</td></tr>"
    )


def _kill(findings: Findings) -> str:
    kill = findings.kill
    if kill is None:
        return "not run"
    return (
        f"{kill.jobs} durable jobs; {kill.victim} killed with SIGKILL after "
        f"{kill.killed_at:.2f} s; {kill.results} results, {kill.repeated} repeated, "
        f"{kill.second_attempts} ran a second time; all done after {kill.seconds:.1f} s."
    )


def _spiking(findings: Findings) -> str:
    found = findings.spiking
    if found is None:
        return "not run"
    return (
        f"{found.accuracy:.2%} of the held-out digits by spike counts over {found.steps} steps "
        f"({found.first_accuracy:.2%} by the first spike alone, {found.dense_accuracy:.2%} with "
        "the same weights and no spikes); "
        f"{found.input_rate:.1%} of the input lines spike per step."
    )


def _figure(name: str, pictures: list[Path]) -> str:
    there = any(picture.stem == name for picture in pictures)
    return f'<img src="{name}.png" alt="{name}">' if there else ""


def plain(findings: Findings) -> dict[str, object]:
    values = asdict(findings)
    if findings.spiking is not None:
        values["spiking"]["raster"] = findings.spiking.raster.astype(int).tolist()
        values["spiking"]["membranes"] = findings.spiking.membranes.astype(float).tolist()
    return values
