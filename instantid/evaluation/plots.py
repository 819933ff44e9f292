"""Curves as inline SVG: points with intervals, drawn without a library so that the page needs no other file."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..training.people.separation import Interval

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 44
COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea")
TICKS = 5


@dataclass(frozen=True)
class Point:
    """A point of a curve; `y` with its interval, `label` beside it or empty."""

    x: float
    y: Interval
    label: str = ""


def curve(title: str, x_name: str, y_name: str, lines: dict[str, Sequence[Point]]) -> str:
    """Draw lines by name, each through its points in their order. Returns one <svg> element.

    Raises:
        ValueError: there is no point.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("A curve needs a point.")
    xs = _range([point.x for point in points])
    ys = _range([each for point in points for each in _ends(point.y)])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{html.escape(title)}" '
        'font-family="sans-serif" font-size="11">',
        _text(WIDTH / 2, 16, title, "middle", 13),
        _text(WIDTH / 2, HEIGHT - 8, x_name, "middle"),
        _text(12, HEIGHT / 2, y_name, "middle", turned=True),
    ]
    parts += _axes(xs, ys, at)
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(line, at, COLOURS[number % len(COLOURS)])
        if len(lines) > 1:
            parts.append(
                _text(LEFT + 6, TOP + 12 + 14 * number, name, "start", 11, COLOURS[number % len(COLOURS)])
            )
    return "\n".join([*parts, "</svg>"])


def _axes(xs: tuple[float, float], ys: tuple[float, float], at) -> list[str]:
    parts = []
    for i in range(TICKS):
        share = i / (TICKS - 1)
        x, y = xs[0] + share * (xs[1] - xs[0]), ys[0] + share * (ys[1] - ys[0])
        across, down = at(x, y)
        parts.append(f'<path d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}" stroke="#8884" fill="none"/>')
        parts.append(_text(LEFT - 5, down + 4, f"{y:.3g}", "end"))
        parts.append(_text(across, HEIGHT - BOTTOM + 15, f"{x:.3g}", "middle"))
    return parts


def _line(line: Sequence[Point], at, colour: str) -> list[str]:
    places = [at(point.x, point.y.value) for point in line]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for point, (x, y) in zip(line, places, strict=True):
        (_, low), (_, high) = (at(point.x, end) for end in _ends(point.y))
        parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-opacity=".5"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        if point.label:
            parts.append(_text(x + 5, y - 5, point.label, "start"))
    return parts


def _ends(value: Interval) -> tuple[float, float]:
    return (value.value, value.value) if math.isnan(value.low) else (value.low, value.high)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str,
    size: int = 11,
    colour: str = "currentColor",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.0f} {y:.0f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{turn}>'
        f"{html.escape(text)}</text>"
    )
