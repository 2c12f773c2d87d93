"""A program of torch.export (.pt2): runs with torch alone, without this library.

Reading one can run code, as with any file of torch.export: open only what you or those you trust have written. The two
other kinds of file are data.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from featalign.errors import WeightsError, said
from featalign.export.metadata import KEY, ExportInfo


def write(program: ExportedProgram, info: ExportInfo, path: Path) -> None:
    """One file."""
    torch.export.save(program, path, extra_files={KEY: info.to_text()})


class TorchFile:
    """See :class:`~featalign.export.targets.Runner`."""

    def __init__(self, path: Path) -> None:
        extra: dict[str, Any] = {KEY: ""}
        program = torch.export.load(path, extra_files=extra)
        self.info = ExportInfo.from_text(extra[KEY], source=str(path))
        self.module = program.module()

    def run(self, images: NDArray[np.integer], size: NDArray[np.int64] | None) -> NDArray[np.float32]:
        given = [torch.from_numpy(array) for array in (images, size) if array is not None]
        with torch.inference_mode():
            return self.module(*given).numpy()


def open_file(path: Path) -> TorchFile:
    """Raises WeightsError."""
    try:
        return TorchFile(path)
    except (RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: torch cannot open it ({said(error)}); export it again") from error
