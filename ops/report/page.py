"""What a search found as files: report.json, recipe.json, a page, and its picture.

The picture needs matplotlib; without it the page has its tables alone.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("page.html")
DASH = "–"
Report = Mapping[str, object]


def write(report: Report, folder: Path) -> list[Path]:
    """Write everything that the report holds into a folder; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [_json(report, folder / "report.json")]
    if recipe := report.get("recipe"):
        files.append(_json(recipe, folder / "recipe.json"))
    if not report.get("candidates"):
        return files
    picture = _picture(report, folder / "pareto.png")
    page = folder / "index.html"
    page.write_text(Template(TEMPLATE.read_text()).substitute(_fields(report, picture)))
    return [*files, page, *([picture] if picture else [])]


def points(report: Report) -> list[dict[str, object]]:
    """Candidates and, first, what they were made from."""
    held = report.get("baseline")
    baseline = dict(held) if isinstance(held, Mapping) else {}
    accuracy = baseline.get("accuracy", 0.0)
    first = {"name": "dense", "low": accuracy, "high": accuracy, "pareto": False} | baseline
    return [first, *_rows(report, "candidates")]


def _json(value: object, path: Path) -> Path:
    path.write_text(json.dumps(value, indent=1) + "\n")
    return path


def _picture(report: Report, target: Path) -> Path | None:
    try:
        from ops.report import pictures
    except ImportError:
        return None
    chosen = report.get("chosen")
    return pictures.trade(points(report), chosen if isinstance(chosen, str) else None, target)


def _fields(report: Report, picture: Path | None) -> dict[str, str]:
    recipe = (
        '; <a href="recipe.json">recipe.json</a> repeats the artifact' if "recipe" in report else ""
    )
    failed = report.get("failed")
    return {
        "model": escape(str(report["model"])),
        "lead": escape(_lead(report)),
        "worker_class": escape(str(report["worker_class"])),
        "picture": f'<img src="{picture.name}" alt="accuracy, bytes, time">' if picture else "",
        "candidates": "".join(_candidate(row, report) for row in points(report)),
        "failed": "".join(
            f"<li>{escape(name)} could not be made: {escape(str(why))}</li>"
            for name, why in (failed.items() if isinstance(failed, Mapping) else ())
        ),
        "layers": "".join(map(_layer, _rows(report, "layers"))),
        "steps": "".join(map(_step, _rows(report, "analysis"))),
        "advice": "".join(
            f"<li><b>{escape(str(one['name']))}</b>: {escape(str(one['reason']))}</li>"
            for one in _rows(report, "recommended")
        ),
        "repeat": recipe,
    }


def _lead(report: Report) -> str:
    verdict = report.get("verdict")
    if isinstance(verdict, Mapping):
        return f"{report['chosen']} was kept. {verdict['reason']}"
    return f"Nothing was kept: {report.get('reason')}"


def _candidate(row: Report, report: Report) -> str:
    kept = " class=kept" if row["name"] == report.get("chosen") else ""
    return (
        f"<tr{kept}><td>{escape(str(row['name']))}</td>"
        f"<td class=n>{row['accuracy']:.2%}<br><small>{row['low']:.1%} to {row['high']:.1%}</small>"
        f"</td><td class=n>{row['bytes']:,}</td>"
        f"<td class=n>{_ms(row['seconds'])} / {_ms(row['p99'])}</td>"
        f"<td>{'yes' if row['pareto'] else ''}</td>"
        f"<td>{escape(str(row.get('reason', '')))}</td></tr>"
    )


def _layer(row: Report) -> str:
    return (
        f"<tr><td>{escape(str(row['step']))}</td><td>{escape(str(row['operator']))}</td>"
        f"<td class=n>{row['bytes_before']:,}</td><td class=n>{row['bytes_after']:,}</td>"
        f"<td class=n>{row['sparsity']:.0%}</td><td>{escape(str(row['reason']))}</td></tr>"
    )


def _step(row: Report) -> str:
    loss = row["loss"]
    assert isinstance(loss, Mapping)  # the report's shape
    losses = "".join(
        f"<td class=n>{loss[way]:.2g}</td>" if way in loss else f"<td>{DASH}</td>"
        for way in ("8 bits", "4 bits", "90% zeros")
    )
    return (
        f"<tr><td>{escape(str(row['step']))}</td><td>{escape(str(row['operator']))}</td>"
        f"<td class=n>{1e6 * float(str(row['seconds'])):.1f} µs</td>"
        f"<td class=n>{row['flops']:,.0f}</td><td class=n>{row['bytes']:,.0f}</td>{losses}</tr>"
    )


def _rows(report: Report, key: str) -> list[dict[str, object]]:
    rows = report.get(key)
    return [dict(row) for row in rows] if isinstance(rows, list) else []


def _ms(seconds: object) -> str:
    return f"{1e3 * float(str(seconds)):.3f} ms"
