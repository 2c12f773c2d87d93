"""An evaluation on the screen."""

from __future__ import annotations

from collections.abc import Iterator

from featalign.cli.console import out, percent, table
from featalign.errors import ConfigError
from featalign.inference import Evaluation
from featalign.inference.counted import METRIC_TITLES
from featalign.inference.grouping import TITLES


def parse_widths(text: str) -> tuple[int, ...]:
    """``3,5,8`` to widths; empty for none. Raises ConfigError."""
    try:
        widths = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f'expected widths in pixels like 3,5,8, got "{text}"') from error
    if any(width < 1 for width in widths):
        raise ConfigError(f'expected widths of at least 1 pixel, got "{text}"')
    return widths


def show(found: Evaluation) -> None:
    """The table per class, then the means, then what it took and what was left out."""
    bands = [f"{width} px" for width in found.boundary]
    columns = [found.scores.iou, *(band.iou for band in found.boundary.values())]
    rows = [(name, *(percent(column[i]) for column in columns)) for i, name in enumerate(found.classes.names)]
    means = ("mIoU", percent(found.scores.miou), *(percent(band.miou) for band in found.boundary.values()))
    table([*rows, ("", *("" for _ in columns)), means], header=("class", "IoU", *bands))
    out.print(
        f"pixel accuracy {percent(found.scores.pixel_accuracy)}  mean accuracy {percent(found.scores.mean_accuracy)}"
        f"{''.join(_further(found))}"
    )
    out.print(f"{found.images} images{_cost(found)}")
    if found.scores.absent:
        names = ", ".join(found.classes.names[i] for i in found.scores.absent)
        out.print(f"absent from this split and left out of the means: {names}")
    for name, reason in found.skipped.items():
        out.print(f"skipped {name}: {reason}")


def _further(found: Evaluation) -> Iterator[str]:
    """The means of categories and instances, and of the metrics that were asked for."""
    for name, mean in found.groups.means.items():
        yield f"  {TITLES[name]} {percent(mean)}"
    for name, counted in found.metrics.items():
        yield f"  {METRIC_TITLES[name]} {percent(counted.mean)}"


def _cost(found: Evaluation) -> str:
    if not found.seconds:
        return ""
    memory = "" if found.peak_memory is None else f", {found.peak_memory / 2**20:.0f} MiB at the peak"
    return f", {1000 * found.seconds_per_image:.0f} ms each{memory}"
