"""The folder that a run leaves behind, and what is written into it besides the log."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from featalign.errors import FeatalignError
from featalign.files import why, write_atomically
from featalign.training.log import finite


@dataclass(frozen=True)
class RunFolder:
    """Names of the parts of a run."""

    root: Path

    @property
    def model(self) -> Path:
        """The best model by mIoU, AP or PQ on the validation split; the last one where nothing was validated."""
        return self.root / "model"

    @property
    def last(self) -> Path:
        """The model as training left it."""
        return self.root / "last"

    @property
    def checkpoints(self) -> Path:
        """What an unfinished run goes on from; removed when it is finished."""
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def start_from(self) -> Path:
        """What became of every tensor of the weights that the run began with."""
        return self.root / "start_from.json"

    @property
    def normalization(self) -> Path:
        """Mean and deviation by which it normalizes images."""
        return self.root / "normalization.json"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def versions(self) -> Path:
        return self.root / "versions.json"

    def earlier(self) -> list[Path]:
        """The parts that exist: what an earlier run wrote. The recipe is last, so that it goes last."""
        parts = [self.model, self.last, self.checkpoints, self.tensorboard]
        parts += [self.log, self.start_from, self.normalization, self.metrics, self.versions, self.recipe]
        return [part for part in parts if part.exists()]


def prepare(folder: RunFolder) -> None:
    """Make the folder; remove what an earlier run left in it, and nothing else.

    Raises:
        FeatalignError: if it cannot be made or emptied.
    """
    try:
        remove_leftovers(folder)
        for part in folder.earlier():
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        folder.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeatalignError(f"{folder.root}: cannot be used as a run folder ({why(error)})") from error


def remove_leftovers(folder: RunFolder) -> None:
    """Remove single files that a killed process was writing."""
    for where in (folder.root, folder.model, folder.last):
        for path in where.glob(".*.tmp*"):
            if path.is_file():
                path.unlink(missing_ok=True)


def tidy(folder: RunFolder) -> None:
    """Remove what a finished run no longer needs: its checkpoints, and what a killed process had not finished.

    What cannot be removed stays: the run is finished all the same.
    """
    with suppress(OSError):
        remove_leftovers(folder)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def write_json(path: Path, content: dict[str, object]) -> None:
    """Readable JSON, whole or not at all; nan and infinity become null."""
    write_atomically(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
