"""The finished blocks of an answer that is larger than memory, on disk: what a killed run leaves for the next one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featalign.errors import ConfigError, FeatalignError
from featalign.files import atomic_path, write_atomically
from featalign.inference.blocks import Block, Blocks
from featalign.inference.settings import differing


class Parts:
    """A folder with a file per finished block, each whole or absent.

    Args:
        folder: made by :meth:`claim`.
        settings: all that the blocks depend on, as JSON.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def beside(cls, labels: Path, settings: dict[str, Any] | None = None) -> Parts:
        """Those of the answer that ``labels`` will be."""
        return cls(labels.with_name(f".{labels.stem}.parts"), settings or {})

    def claim(self, *, resume: bool) -> None:
        """Begin, or ``resume`` with what is there if it was made with the same settings.

        Raises:
            ConfigError: if it was made with others.
            FeatalignError: if nothing can be written.
        """
        if resume and self._record.is_file():
            self._compare()
            return
        self.remove()
        write_atomically(self._record, json.dumps(self.settings, indent=1) + "\n")

    def done(self, block: Block) -> bool:
        """Whether a block is finished."""
        return self._file(block).is_file()

    def write(self, block: Block, labels: NDArray[np.integer]) -> None:
        """Keep the labels (h, w) of a block. Raises FeatalignError if they cannot be written."""
        with atomic_path(self._file(block)) as temporary:
            np.save(temporary, labels)

    def rows(self, blocks: Blocks, rows: range, dtype: np.dtype[Any]) -> NDArray[np.integer]:
        """Some rows of the answer, in full width, of finished blocks."""
        answer = np.empty((len(rows), blocks.output[1]), dtype)
        for block in blocks.meeting(rows):
            top, bottom = max(rows.start, block.rows.start), min(rows.stop, block.rows.stop)
            labels = np.load(self._file(block), mmap_mode="r")
            place = slice(top - rows.start, bottom - rows.start), slice(block.columns.start, block.columns.stop)
            answer[place] = labels[top - block.rows.start : bottom - block.rows.start]
        return answer

    def remove(self) -> None:
        """All of it. Raises FeatalignError."""
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
        except OSError as error:
            raise FeatalignError(f"{self.folder}: cannot be removed ({error.strerror})") from error

    def _compare(self) -> None:
        try:
            other = differing(self._record, self.settings)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._record}: cannot be read ({error}); begin anew without --resume") from error
        if other:
            raise ConfigError(
                f"{self.folder}: what is finished there was made with another {', '.join(other)}; take the same image "
                "and options, or begin anew without --resume"
            )

    @property
    def _record(self) -> Path:
        return self.folder / "settings.json"

    def _file(self, block: Block) -> Path:
        return self.folder / f"{block.row}-{block.column}.npy"
