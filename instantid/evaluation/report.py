"""Rows, pictures and curves → report.json, report.md and index.html, which stands alone."""

import base64
import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from . import intervals, pulid
from .rows import Row

PEOPLE_SHOWN = 8
QUALITY = 82
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #fff; color-scheme: light dark; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; } th, td { padding: .25rem .6rem; text-align: left;
  border-bottom: 1px solid #8883; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.met { color: #15803d; } .missed { color: #b91c1c; } .why { opacity: .7; } .wide { overflow-x: auto; }
.pictures td, .pictures th { padding: 2px; font-size: 12px; border: 0; text-align: center; }
.pictures img { width: 96px; display: block; }
.warning { padding: .6rem 1rem; border-left: 4px solid #d97706; background: #d9770618; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16181c; }
 .met { color: #4ade80; } .missed { color: #f87171; } }
"""
COLUMNS = ("what", "condition", "value (95 % interval, people resampled)", "pictures", "goal", "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """All that is to be told.

    Args:
        facts: of the run: bundle, set, counts, device, …
        warnings: what a reader must know first.
        rows: in order of sections.
        plots: <svg> elements.
        pictures: by person: {column: picture (h, w, 3) uint8 RGB}.
        notes: what was left out, and limits.
        cited: whether PuLID's published table is put below.
    """

    facts: dict[str, str]
    warnings: Sequence[str]
    rows: Sequence[Row]
    plots: Sequence[str]
    pictures: dict[str, dict[str, np.ndarray]]
    notes: Sequence[str]
    cited: bool = False

    def write(self, folder: Path) -> None:
        """Write the three files, each whole or not at all."""
        data = {
            "facts": self.facts,
            "warnings": self.warnings,
            "rows": [row.to_json() for row in self.rows],
            "notes": self.notes,
        }
        _write(folder / "report.json", json.dumps(data, ensure_ascii=False, indent=1))
        _write(folder / "report.md", self.as_markdown())
        _write(folder / "index.html", self.as_html())

    def as_markdown(self) -> str:
        """Tables for people; pictures are in the page alone."""
        lines = ["# Evaluation", "", *(f"> {warning}" for warning in self.warnings), ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        for section, rows in groupby(self.rows, key=lambda row: row.section):
            lines += ["", f"## {section}", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
            lines += [f"| {' | '.join(each.replace('|', '/') for each in _cells(row))} |" for row in rows]
        if self.cited:
            lines += ["", "## Published, for comparison", "", _citation(), "", *_markdown(_published())]
        lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def as_html(self) -> str:
        """One page without any other file."""
        parts = ['<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title>']
        parts += [
            '<meta name="viewport" content="width=device-width">',
            f"<style>{STYLE}</style><h1>Evaluation</h1>",
        ]
        parts += [f'<p class="warning">{html.escape(warning)}</p>' for warning in self.warnings]
        facts = "".join(
            f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in self.facts.items()
        )
        parts.append(f"<table>{facts}</table>")
        parts += [*self.plots, self._gallery()]
        for section, rows in groupby(self.rows, key=lambda row: row.section):
            parts.append(f"<h2>{html.escape(section)}</h2>{_table(list(rows))}")
        if self.cited:
            head, *body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in _published())
            rows = "".join(f"<tr>{row}</tr>" for row in (head, *body))
            parts.append(
                f"<h2>Published, for comparison</h2><p>{html.escape(_citation())}</p><table>{rows}</table>"
            )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        parts.append(f"<h2>Notes</h2><ul>{notes}</ul></html>")
        return "\n".join(parts)

    def _gallery(self) -> str:
        shown = dict(list(self.pictures.items())[:PEOPLE_SHOWN])
        columns = list(dict.fromkeys(column for pictures in shown.values() for column in pictures))
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = ""
        for who, pictures in shown.items():
            cells = (
                f"<td>{_image(pictures[c], f'{who}, {c}') if c in pictures else ''}</td>" for c in columns
            )
            body += f"<tr>{''.join(cells)}</tr>"
        return (
            f'<h2>Pictures</h2><div class="wide"><table class="pictures"><tr>{head}</tr>{body}</table></div>'
        )


def _cells(row: Row) -> tuple[str, ...]:
    value = f"not measured: {row.why}" if row.value is None else _value(row)
    verdict = {True: "met", False: "missed", None: ""}[row.met]
    return (
        row.what,
        row.condition,
        value,
        str(row.pictures or ""),
        row.goal.words if row.goal else "",
        verdict,
    )


def _value(row: Row) -> str:
    if not row.over_people:
        return f"{row.value.value:.{row.digits}f}"
    return intervals.words(row.value, row.digits)


def _table(rows: Sequence[Row]) -> str:
    parts = ["<tr>", *(f"<th>{name}</th>" for name in COLUMNS), "</tr>"]
    for row in rows:
        what, condition, value, pictures, goal, verdict = (html.escape(cell) for cell in _cells(row))
        kind = "why" if row.value is None else "n"
        parts.append(
            f'<tr><td>{what}</td><td>{condition}</td><td class="{kind}">{value}</td><td class="n">{pictures}</td>'
            f'<td>{goal}</td><td class="{verdict}">{verdict}</td></tr>'
        )
    return f'<div class="wide"><table>{"".join(parts)}</table></div>'


def _image(picture: np.ndarray, about: str) -> str:
    _, content = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    data = base64.b64encode(content.tobytes()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(about)}">'


def _citation() -> str:
    return (
        f"{pulid.SOURCE}. Cited, not measured here: other people, another face encoder and maybe another CLIP. The "
        "order of methods may be compared, single values may not."
    )


def _published() -> list[tuple[str, ...]]:
    names = ("Face Sim.", "CLIP-T", "CLIP-I")
    head = (
        "method",
        "base",
        *(f"DivID-120 {name}" for name in names),
        *(f"Unsplash-50 {name}" for name in names),
    )
    return [
        head,
        *((row.method, row.base, *(f"{v:g}" for v in (*row.divid, *row.unsplash))) for row in pulid.TABLE),
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [head, f"|{'---|' * len(rows[0])}", *body]


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)
