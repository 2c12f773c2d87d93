"""The rows of a run's log for TensorBoard as well.

Belongs beside :class:`~featalign.training.log.RunLog`: open it where ``training.tensorboard`` is set, and give it every
row that the log gets. The log stays the record; TensorBoard's files can be made again from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from featalign.errors import ConfigError
from featalign.training.log import writing


class TensorBoardLog:
    """Writes event files into ``folder``: every number of a row as the curve ``{kind}/{name}``.

    Args:
        folder: made if missing.
        resumed_at: the step that a run goes on from; what an earlier process wrote beyond it is hidden.

    Raises:
        ConfigError: if TensorBoard is not installed.
        FeatalignError: if the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, resumed_at: int | None = None) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        purge = None if resumed_at is None else resumed_at + 1
        with writing(folder):
            self._writer = SummaryWriter(str(folder), purge_step=purge)

    def write(self, kind: str, *, step: int, **values: object) -> None:
        """Add one row of the log. Raises FeatalignError where one before it could not be written, as on a full disk."""
        with writing(self.folder):
            for name, number in numbers(values):
                self._writer.add_scalar(f"{kind}/{name}", number, step)

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self.folder, after=error):
            self._writer.close()


def require_tensorboard() -> None:
    """Raises ConfigError if TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "training.tensorboard: TensorBoard is not installed; pip install 'featalign[tensorboard]'"
        ) from error


def numbers(values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a row, those of a mapping as ``name/key``; flags, names and lists are no curves.

    >>> list(numbers({"loss": 0.5, "iou": {"road": 0.9, "sky": float("nan")}, "best": True}))
    [('loss', 0.5), ('iou/road', 0.9)]
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", number) for key, number in numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)
