"""One report as one file that needs nothing else: no other file, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template

from featalign.reports.markup import Html, joined, tag
from featalign.spec import Color


def page(title: str, subtitle: str, parts: Iterable[Html]) -> str:
    """The whole document. Light and dark schemes; tables of class ``sortable`` sort by a click or Enter on a header."""
    template = Template((files("featalign.reports") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=joined([title]), heading=tag("h1", title), subtitle=tag("p", subtitle, class_="lead"), body=joined(parts)
    )


def section(title: str, *parts: Html, note: str = "") -> Html:
    """A heading, a line that says what follows, and what follows."""
    said = [tag("p", note, class_="note")] if note else []
    return tag("section", tag("h2", title), *said, *parts)


def tiles(values: Mapping[str, str]) -> Html:
    """Few numbers, large: what -> how much."""
    each = (tag("div", tag("dt", name), tag("dd", value)) for name, value in values.items())
    return tag("dl", *each, class_="tiles")


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, foot: Sequence[str] = (), sortable: bool = False
) -> Html:
    """The first column to the left, the others to the right. Cells may be markup; ``foot`` stays below."""
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    parts = [head, tag("tbody", *map(_row, rows)), *([tag("tfoot", _row(foot))] if foot else [])]
    return tag("div", tag("table", *parts, class_="sortable" if sortable else None), class_="wide")


def pairs(values: Mapping[str, object]) -> Html:
    """Names and values, such as settings; None is a dash."""
    rows = (tag("tr", tag("th", name, scope="row"), tag("td", plain(value))) for name, value in values.items())
    return tag("div", tag("table", tag("tbody", *rows), class_="pairs"), class_="wide")


def percent_cell(value: float) -> Html:
    """A cell with a percentage and a bar of that length behind it; a dash for nan."""
    if value != value:
        return tag("td", "–", class_="none", data_value=-1)
    return tag("td", percent(value), class_="bar", style=f"--share:{100 * value:.2f}%", data_value=f"{value:.6f}")


def class_cell(name: str, color: Color) -> Html:
    """A cell with the name of a class and a swatch of its colour."""
    swatch = tag("span", class_="swatch", style="background:rgb({},{},{})".format(*color))
    return tag("td", swatch, name, class_="name")


def folded(title: str, *parts: Html) -> Html:
    """Shown when it is asked for."""
    return tag("details", tag("summary", title), *parts)


def percent(value: float) -> str:
    """0.5327 to 53.27; a dash for nan."""
    return "–" if value != value else f"{100 * value:.2f}"


def signed(value: float) -> str:
    """0.0127 to +1.27, -0.01 to −1.00; what is nearly nothing keeps its sign; a dash for nan."""
    if value != value:
        return "–"
    return f"{100 * value:+.2f}".replace("-", "−") if value else "0.00"


def between(low: float, high: float) -> str:
    """-0.01 and 0.02 to −1.00 to +2.00; a dash for nan."""
    return "–" if low != low else f"{signed(low)} to {signed(high)}"


def plain(value: object) -> str:
    """A setting as one would say it."""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(plain(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _row(cells: Sequence[str]) -> Html:
    return tag("tr", *(cell if _is_cell(cell) else tag("td", cell) for cell in cells))


def _is_cell(cell: str) -> bool:
    return isinstance(cell, Html) and cell.startswith("<td")
