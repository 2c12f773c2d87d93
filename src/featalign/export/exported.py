"""An exported file with the calls of a network, so that whatever predicts or scores takes either."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError, DataError, FeatalignError, WeightsError, said
from featalign.export.metadata import ExportInfo, Size
from featalign.export.targets import TARGETS, Runner, target_of
from featalign.models import Segmentor, load_model
from featalign.models.network import Mode
from featalign.spec import Classes, Normalization


class ExportedModel:
    """A file of `featalign export`, as a :class:`~featalign.inference.network.Network`; it runs on the CPU.

    Attributes:
        info: what the file says of itself.
        classes, in_channels, normalization: as of the network that was exported.
        digest: of the file and what lies beside it, by which a folder of answers knows what they were made by.
    """

    def __init__(self, runner: Runner, *, digest: str) -> None:
        self.runner = runner
        self.info: ExportInfo = runner.info
        self.digest = digest
        self._run_as_layer = _Run(runner)

    @property
    def classes(self) -> Classes:
        return self.info.classes

    @property
    def in_channels(self) -> int:
        return self.info.in_channels

    @property
    def normalization(self) -> Normalization:
        return self.info.normalization

    def __call__(self, images: Tensor, size: Size | None = None, mode: Mode = "auto") -> Tensor:
        """Normalized images (B, in_channels, H, W) to logits ``(B, K, *size)``, at the input's size by default.

        The graph takes pixels, so these are made of the images again, rounded to whole values: exact unless an image
        was resized after it was read.

        Raises:
            ConfigError: for a mode other than the file's.
            DataError: for images of a size that the file does not take.
        """
        if mode not in ("auto", self.info.mode):
            raise ConfigError(f'this file was exported with mode "{self.info.mode}" and has no other, got "{mode}"')
        height, width = images.shape[-2:]
        logits = self.logits(self.pixels(images), size or (height, width))
        return logits.to(images.device)

    def pixels(self, images: Tensor) -> Tensor:
        """Normalized images as the pixels that the graph takes."""
        norm = self.normalization
        mean, std = (norm.scale * torch.tensor(v, device=images.device)[:, None, None] for v in (norm.mean, norm.std))
        pixels = (images.float() * std + mean).round().clamp(0, norm.scale)
        return pixels.to("cpu", getattr(torch, self.info.pixels))

    def logits(self, pixels: Tensor, size: Size) -> Tensor:
        """Pixels (B, in_channels, H, W) to logits ``(B, K, *size)``; see :meth:`__call__` for the errors."""
        fixed = self.info.size
        if fixed is None:
            found = self._run(pixels, np.array(size, np.int64))
            if tuple(found.shape[-2:]) != size:
                raise DataError(f"the file's answer has the size {tuple(found.shape[-2:])}, asked was {size}")
            return found
        if tuple(pixels.shape[-2:]) != fixed:
            got, wanted = ("x".join(map(str, s)) for s in (pixels.shape[-2:], fixed))
            raise DataError(
                f"this file takes images of {wanted} only, got {got}; resize them (--input-size {wanted}), or export "
                "with --size dynamic"
            )
        logits = torch.cat([self._run(image[None], None) for image in pixels])
        return logits if size == fixed else F.interpolate(logits, size=size, mode="bilinear")

    def _run(self, pixels: Tensor, size: np.ndarray | None) -> Tensor:
        try:
            return self._run_as_layer(pixels, size)
        except FeatalignError:
            raise
        except Exception as error:  # each runtime has classes of its own, below RuntimeError or not
            height, width = pixels.shape[-2:]
            raise DataError(
                f"the file cannot be run on an image of {height}x{width} pixels ({said(error)}); try another size"
            ) from error


class _Run(nn.Module):
    """A run of a file as a layer, so that what hooks into every layer, such as a service that stops, knows of it."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner

    def forward(self, pixels: Tensor, size: np.ndarray | None) -> Tensor:
        return torch.from_numpy(self.runner.run(np.ascontiguousarray(pixels.numpy()), size))


def is_exported(path: Path | str) -> bool:
    """Whether ``path`` has the suffix of an exported file: .onnx, .xml (OpenVINO) or .pt2."""
    return target_of(Path(path)) is not None


def load_exported(path: Path | str) -> ExportedModel:
    """Open a file of `featalign export`. A .pt2 can run code when it is opened: open only what you trust.

    Raises:
        WeightsError: if it is missing, damaged or of other origin.
        ConfigError: if a package that runs it is missing; the message has the command to run.
    """
    path = Path(path)
    target = target_of(path)
    if target is None:
        suffixes = ", ".join(known.suffix for known in TARGETS.values())
        raise WeightsError(f"{path}: is no exported network; expected a file ending in {suffixes}")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    return ExportedModel(target.open(path), digest=_digest(path))


def load_network(path: Path | str) -> ExportedModel | Segmentor:
    """An exported file, or the model of a run or model folder. Raises as :func:`load_exported` and ``load_model``."""
    return load_exported(path) if is_exported(path) else load_model(path)


def _digest(path: Path) -> str:
    """Of a file, with OpenVINO's weights or those of a very large ONNX graph."""
    digest = hashlib.sha256()
    weights = path.with_suffix(".bin") if path.suffix.lower() == ".xml" else path.with_name(f"{path.name}.data")
    for part in (path, weights):
        if part.is_file():
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
