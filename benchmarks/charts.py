"""Line charts as SVG, for the pages that the benchmarks make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, TOP, RIGHT, BOTTOM = 48, 16, 180, 40
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf", "#bcbd22")
DASHES = ("none", "6 3", "2 2")  # once all colours are used
TICKS = (1, 2, 5, 10, 20)

Line = Sequence[tuple[float, float]]


def chart(lines: Mapping[str, Line], *, across: str, up: str) -> str:
    """One line for each name over common axes; names from the highest end down.

    Args:
        lines: points (x, y), by name.
        across, up: what the axes show.
    """
    xs = sorted({x for line in lines.values() for x, _ in line})
    ys = [y for line in lines.values() for _, y in line]
    step = next((tick for tick in TICKS if (max(ys) - min(ys)) / tick <= 7), TICKS[-1])
    low, high = min(ys) // step * step, -(-max(ys) // step) * step

    def at(x: float, y: float) -> str:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (x - xs[0]) / ((xs[-1] - xs[0]) or 1)
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / ((high - low) or 1)
        return f"{right:.1f},{down:.1f}"

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for i in range(round((high - low) / step) + 1):
        (left, y), (right, _) = (at(x, low + i * step).split(",") for x in (xs[0], xs[-1]))
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, float(y) + 4, f"{low + i * step:g}", "end"))
    for x in xs:
        parts.append(_text(float(at(x, low).split(",")[0]), HEIGHT - BOTTOM + 16, f"{x:g}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle"))
    parts.append(_text(LEFT, 11, up, "start"))
    order = {name: i for i, name in enumerate(lines)}  # a name has the same colour in every chart of a page
    for i, (name, line) in enumerate(sorted(lines.items(), key=lambda item: -item[1][-1][1])):
        rounds, place = divmod(order[name], len(COLORS))
        color, dashes = COLORS[place], DASHES[rounds % len(DASHES)]
        style = f'fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"'
        points = " ".join(at(x, y) for x, y in line)
        down = TOP + 10 + 16 * i
        parts.append(f'<polyline points="{points}" {style}/>')
        parts.append(f'<line x1="{WIDTH - RIGHT + 8}" x2="{WIDTH - RIGHT + 28}" y1="{down}" y2="{down}" {style}/>')
        parts.append(_text(WIDTH - RIGHT + 33, down + 4, name, "start", color))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str, color: str = "#333") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
