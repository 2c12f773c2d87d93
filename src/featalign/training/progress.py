"""What a run shows while it goes: one line with loss, learning rate, images per second, time left and memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column


class ProgressLine:
    """A bar on a terminal; elsewhere (a file, a pipe) one plain line per row of the log."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),  # where room is short, the bar shrinks
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._training = self._bars.add_task("training", total=total, status="")
        self._validation: TaskID | None = None

    def __enter__(self) -> ProgressLine:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, step: int) -> None:
        """``step`` training iterations are done."""
        self._bars.update(self._training, completed=step)

    def row(self, step: int, values: Mapping[str, object]) -> None:
        """Show a row of the log."""
        status = training_status(values)
        self._bars.update(self._training, status=status)
        if not self._console.is_terminal:
            self.say(f"step {step}  {status}")

    def start_validation(self, total: int) -> None:
        self._validation = self._bars.add_task("validating", total=total, status="")

    def validated_image(self) -> None:
        if self._validation is not None:
            self._bars.advance(self._validation)

    def end_validation(self, message: str) -> None:
        """Replace the validation bar by its result, on a line that stays."""
        if self._validation is not None:
            self._bars.remove_task(self._validation)
            self._validation = None
        self.say(message)

    def say(self, message: str) -> None:
        """A line of its own."""
        say(self._console, message)


def say(console: Console, message: str) -> None:
    """A line of its own, in which nothing is coloured or broken."""
    console.print(message, highlight=False, soft_wrap=True, markup=False)


def training_status(values: Mapping[str, object]) -> str:
    """A row of the log in one line.

    >>> training_status({"loss": 0.5, "lr": 0.01, "images_per_second": 12.0, "seconds_left": 61.0, "peak_rss_mb": 900})
    'loss 0.500  lr 0.01000  12.0 images/s  0:01:01 left  900 MB'
    """
    left = timedelta(seconds=round(float(str(values["seconds_left"]))))
    memory = f"  {values['peak_rss_mb']:.0f} MB" if "peak_rss_mb" in values else ""
    return (
        f"loss {values['loss']:.3f}  lr {values['lr']:.5f}  {values['images_per_second']:.1f} images/s  "
        f"{left} left{memory}"
    )
