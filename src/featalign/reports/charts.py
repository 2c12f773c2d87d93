"""Drawings as inline SVG in the colours of the page's scheme: boundary bands, confusion matrices, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

from torch import Tensor

from featalign.metrics import Interval
from featalign.reports.markup import Html, joined, tag
from featalign.reports.page import between, percent, signed

SHOWN = 0.005
"""Shares of a class below this are left blank in a confusion matrix."""
LABELLED = 25
"""Confusion matrices of more classes have no numbers in their cells."""


def curve(series: Mapping[str, Sequence[float]], places: Sequence[str], *, title: str) -> Html:
    """Shares in [0, 1] over named places, one line for each series; at most two, the second in the colour of run B."""
    width, height, left, top, bottom = 620, 260, 48, 16, 34
    values = [value for line in series.values() for value in line if not math.isnan(value)]
    ticks = _ticks(min(values, default=0.0), max(values, default=1.0))
    xs = [left + (i + 0.5) * (width - left - 90) / len(places) for i in range(len(places))]

    def y(value: float) -> float:
        return top + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (height - top - bottom)

    parts = [_rule(left, width - 90, y(tick), percent_tick(tick)) for tick in ticks]
    parts += [
        tag("text", place, x=_n(x), y=height - 12, text_anchor="middle", class_="soft")
        for x, place in zip(xs, places, strict=True)
    ]
    lowest = [min(at) if len(series) > 1 else -1.0 for at in zip(*series.values(), strict=True)]
    for letter, (name, line) in zip("ab", series.items(), strict=False):
        points = [
            _Point(x, y(value), value, below=value == low)
            for x, value, low in zip(xs, line, lowest, strict=True)
            if not math.isnan(value)
        ]
        parts.append(_line(points, letter, name))
    drawing = tag(
        "svg", *parts, width=width, height=height, viewBox=f"0 0 {width} {height}", role="img", aria_label=title
    )
    return tag("div", drawing, class_="wide")


def confusion_map(matrix: Tensor, names: Sequence[str]) -> Html:
    """Rows are the truth, each divided by its pixels: what became of every class. Blue is right, red is wrong."""
    count = len(names)
    cell = max(8, min(44, 760 // count))
    text = min(12, cell)
    margin = 12 + round(text * max(map(_ems, names)))
    size = margin + cell * count + 8
    shares = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    parts = [_axis_names(i, name, margin, cell, text) for i, name in enumerate(names)]
    parts += [
        _heat(row, column, float(shares[row, column]), names, margin, cell)
        for row, column in (shares >= SHOWN).nonzero().tolist()
    ]
    drawing = tag(
        "svg", *parts, width=size, height=size, viewBox=f"0 0 {size} {size}", role="img", aria_label="confusion matrix"
    )
    return tag("div", drawing, class_="wide")


def interval_plot(interval: Interval, reach: float) -> Html:
    """A difference and its interval on a line from -reach to reach, with a mark at 0."""
    width, height = 220, 18

    def x(value: float) -> float:
        return width / 2 + value / reach * (width / 2 - 6) if reach > 0 else width / 2

    kind = ("a" if interval.difference > 0 else "b") if interval.decided else ""
    line, dot = (f"line-{kind}", f"dot-{kind}") if kind else ("undecided", "undecided")
    parts = [tag("line", x1=width / 2, x2=width / 2, y1=0, y2=height, class_="axis", stroke_dasharray="2 2")]
    if not math.isnan(interval.low):
        ends = {"x1": _n(x(interval.low)), "x2": _n(x(interval.high))}
        parts.append(tag("line", **ends, y1=9, y2=9, stroke_width=3, stroke_linecap="round", class_=line))
        parts.append(tag("circle", cx=_n(x(interval.difference)), cy=9, r=4.5, class_=dot))
    says = f"{signed(interval.difference)}, {between(interval.low, interval.high)}"
    return tag("svg", *parts, width=width, height=height, role="img", aria_label=says)


def percent_tick(value: float) -> str:
    """0.45 to 45."""
    return f"{100 * value:.6g}"


def _ticks(low: float, high: float) -> list[float]:
    """Round shares from below ``low`` to above ``high``, with room for what is written there."""
    span = max(high - low, 0.02) * 1.15
    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 6)
    first, last = math.floor((low - 0.05 * span) / step), math.ceil((high + 0.05 * span) / step)
    return [round(i * step, 6) for i in range(first, last + 1)]


def _rule(left: float, right: float, y: float, label: str) -> Html:
    line = tag("line", x1=left, x2=right, y1=_n(y), y2=_n(y), class_="grid")
    return joined([line, tag("text", label, x=left - 8, y=_n(y + 4), text_anchor="end", class_="soft")])


class _Point(NamedTuple):
    """A place of a curve, its value, and whether that is written below it."""

    x: float
    y: float
    value: float
    below: bool


def _line(points: Sequence[_Point], letter: str, name: str) -> Html:
    """Points with their values, joined; the name at the end."""
    path = " ".join(f"{_n(point.x)},{_n(point.y)}" for point in points)
    parts = [tag("polyline", points=path, fill="none", stroke_width=2.5, class_=f"line-{letter}")]
    for x, y, value, below in points:
        parts.append(tag("circle", cx=_n(x), cy=_n(y), r=4, class_=f"dot-{letter}"))
        parts.append(tag("text", percent(value), x=_n(x), y=_n(y + 20 if below else y - 10), text_anchor="middle"))
    if points:
        end = points[-1]
        parts.append(
            tag("text", name, x=_n(end.x + 26), y=_n(end.y + (14 if end.below else 4)), class_=f"dot-{letter}")
        )
    return joined(parts)


def _axis_names(i: int, name: str, margin: int, cell: int, text: int) -> Html:
    middle = margin + (i + 0.5) * cell
    style = f"font-size:{text}px"
    row = tag("text", name, x=margin - 6, y=_n(middle + text * 0.35), text_anchor="end", style=style)
    turned = f"translate({_n(middle + text * 0.35)} {margin - 6}) rotate(-90)"
    return joined([row, tag("text", name, transform=turned, style=style)])


def _heat(row: int, column: int, share: float, names: Sequence[str], margin: int, cell: int) -> Html:
    """A square whose strength grows with the square root of the share, so that small confusions are seen."""
    strength = math.sqrt(share)
    x, y = margin + column * cell, margin + row * cell
    says = f"{names[row]} labelled {names[column]}: {percent(share)} %"
    square = tag(
        "rect",
        tag("title", says),
        x=x,
        y=y,
        width=cell - 1,
        height=cell - 1,
        fill_opacity=f"{strength:.2f}",
        class_="right" if row == column else "wrong",
    )
    if len(names) > LABELLED:
        return square
    place = {
        "x": _n(x + (cell - 1) / 2),
        "y": _n(y + cell / 2 + 3.5),
        "text_anchor": "middle",
        "pointer_events": "none",
    }
    number = f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}"
    return joined(
        [square, tag("text", number, **place, class_="on" if strength > 0.6 else None, style="font-size:11px")]
    )


def _ems(text: str) -> float:
    """About how wide a text is, in units of its size; Chinese, Japanese and Korean signs are squares."""
    return sum(1.0 if east_asian_width(sign) in "WF" else 0.58 for sign in text)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
