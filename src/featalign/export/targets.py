"""The kinds of file: how each is written from a traced program, and how it is read and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from featalign.errors import ConfigError, did_you_mean
from featalign.export.metadata import ExportInfo


class Runner(Protocol):
    """An opened file."""

    info: ExportInfo

    def run(self, images: NDArray[np.integer], size: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Pixels (B, C, H, W) and, unless the file has a fixed size, (height, width) of the answer, to logits."""
        ...


@dataclass(frozen=True)
class Target:
    """``suffix``: of the file. ``packages``: what running it needs, ``writers``: what writing it needs besides; all of
    the extra ``featalign[export]``."""

    name: str
    suffix: str
    packages: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()

    @property
    def write(self) -> Callable[[ExportedProgram, ExportInfo, Path], None]:
        """Writes a traced program to a file, and whatever belongs beside it."""
        return self._module().write

    @property
    def open(self) -> Callable[[Path], Runner]:
        """Opens a file. Raises WeightsError for one that is damaged or not of `featalign export`."""
        return self._module().open_file

    def require(self, *, writing: bool = False) -> None:
        """Raises ConfigError with the command to run if a package is missing."""
        needed = (*self.packages, *self.writers) if writing else self.packages
        missing = [name for name in needed if find_spec(name) is None]
        if missing:
            raise ConfigError(f"{self.name} needs {', '.join(missing)}: pip install 'featalign[export]'")

    def _module(self):  # type: ignore[no-untyped-def]  # a module, imported when it is needed
        self.require()
        return import_module(f"featalign.export.{self.name}_file")


TARGETS: dict[str, Target] = {
    "onnx": Target("onnx", ".onnx", ("onnxruntime",), writers=("onnx", "onnxscript")),
    "openvino": Target("openvino", ".xml", ("openvino",)),
    "torch": Target("torch", ".pt2"),
}


def target_of(path: Path) -> Target | None:
    """The target whose suffix ``path`` has, or None."""
    return next((target for target in TARGETS.values() if target.suffix == path.suffix.lower()), None)


def target_named(name: str) -> Target:
    """Raises ConfigError for an unknown name."""
    if name not in TARGETS:
        raise ConfigError(f'unknown target "{name}": {did_you_mean(name, TARGETS)}')
    return TARGETS[name]
