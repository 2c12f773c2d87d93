"""Predictions as files: many images, in shards, going on after an interruption, whatever single images are like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from featalign.data import Progress, silent
from featalign.errors import ConfigError, DataError
from featalign.inference.failures import Failures
from featalign.inference.listing import Shard
from featalign.inference.network import Box, Network, Size
from featalign.inference.outputs import Outputs
from featalign.inference.predictor import Predictor
from featalign.inference.regions import Area


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    *,
    size: Size | None = None,
    input_size: Size | None = None,
    area: Area | None = None,
    probabilities: bool = False,
    shard: Shard | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> dict[Path, str]:
    """Segment ``images`` into the files of :class:`~featalign.inference.outputs.Outputs` in ``out``.

    One bad image does not stop the others: it is written with the reason, when it happens, to failures.jsonl (of
    shard i of n: failures-i-of-n.jsonl), and tried again by the next run.

    Args:
        predictor: the model and how it is run.
        images: all of them, whatever the shard.
        out: the folder.
        size, input_size, probabilities: as for :class:`Predictor`.
        area: answer for this part of each image only.
        shard: segment only the images of this part: several processes or machines may write to one folder.
        resume: leave out the images whose files are complete. Files are written whole or not at all, so a run may be
            killed at any time.
        progress: shows how far the loop is.

    Returns:
        The images that failed, with the reason.

    Raises:
        FeatalignError: if ``out`` cannot be written; with ``shard`` or ``resume`` if it holds predictions of other
            settings.
    """
    job = Job.prepared(
        predictor,
        out,
        size=size,
        input_size=input_size,
        area=area,
        probabilities=probabilities,
        resume=resume,
        join=resume or shard is not None,
    )
    failures = Failures(out, shard)
    mine = shard.of(images) if shard else images
    for path in progress(mine, total=len(mine), description="predicting"):
        reason = job(path)
        if reason is not None:
            failures.add(path, reason)
    return failures.reasons


@dataclass(frozen=True)
class Job:
    """What is done with every image of a call of :func:`predict_files`."""

    predictor: Predictor
    outputs: Outputs
    size: Size | None
    input_size: Size | None
    area: Area | None
    resume: bool

    @classmethod
    def prepared(
        cls,
        predictor: Predictor,
        out: Path,
        *,
        size: Size | None = None,
        input_size: Size | None = None,
        area: Area | None = None,
        probabilities: bool = False,
        resume: bool = False,
        join: bool = False,
    ) -> Job:
        """With its folder claimed, see :meth:`Outputs.claim`. Raises FeatalignError."""
        settings = settings_of(predictor, size=size, input_size=input_size, area=area)
        outputs = Outputs(out, settings, probabilities)
        outputs.claim(join=join)
        return cls(predictor, outputs, size, input_size, area, resume)

    def __call__(self, path: Path) -> str | None:
        """Segment and write one image. The reason if it failed. Raises FeatalignError if it cannot be written."""
        if self.resume and self.outputs.complete(path):
            return None
        try:
            pixels = self.predictor.read(path)
            box = self.area.within((pixels.shape[0], pixels.shape[1])) if self.area else None
            with _memory_named(path):
                found = self.predictor(
                    pixels,
                    size=self.size,
                    input_size=self.input_size,
                    box=box,
                    probabilities=self.outputs.probabilities,
                )
        except (DataError, ConfigError) as error:
            return str(error)
        self.outputs.write(path, found, as_rgb(_cut(pixels, box), found.labels.shape))
        return None


def settings_of(
    predictor: Predictor, *, size: Size | None, input_size: Size | None, area: Area | None
) -> dict[str, Any]:
    """Everything that the labels depend on, as JSON: the model's weights, how it is asked, how large the answer is."""
    return {
        "model": _digest(predictor.model),
        "mode": predictor.mode,
        "effort": predictor.effort,
        "precision": predictor.precision,
        **asdict(predictor.views),
        "size": size,
        "input_size": input_size,
        "box": str(area) if area else None,
    }


@contextmanager
def _memory_named(image: Path) -> Iterator[None]:
    """Turn torch's two ways of saying that memory is out into a DataError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate" not in str(error):
            raise
        raise DataError(
            f"{image}: memory is not enough; set a budget with --max-memory, or show the network windows (--window)"
        ) from error


def _digest(network: Network) -> str:
    """Of the weights; of a network that is no module, what it says of itself."""
    if not isinstance(network, nn.Module):
        return str(getattr(network, "digest", type(network).__name__))
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _cut(pixels: NDArray[np.integer], box: Box | None) -> NDArray[np.integer]:
    if box is None:
        return pixels
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]


def as_rgb(pixels: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Something to lay colours over, whatever the channels and depth: the first three, or grey; at the labels' size."""
    rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if rgb.dtype != np.uint8:
        rgb = rgb // 257
    picture = np.ascontiguousarray(rgb).astype(np.uint8)
    if picture.shape[:2] == shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
