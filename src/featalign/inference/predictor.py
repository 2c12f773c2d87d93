"""The one way from an image to its segmentation, shared by prediction and evaluation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from featalign.data import DEFAULT_MAX_PIXELS, normalize, read_image
from featalign.errors import ConfigError
from featalign.models import Segmentor
from featalign.models.segmentor import Mode
from featalign.spec import Classes

Precision = Literal["fp32", "bf16"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Prediction:
    """``labels``: uint8 (h, w) class ids, uint16 beyond 256 classes. ``probabilities``: float32 (K, h, w), if asked
    for."""

    labels: NDArray[np.integer]
    classes: Classes
    probabilities: NDArray[np.float32] | None = None


class Predictor:
    """Segments images with a model: ``Predictor(featalign.load("run"))("street.jpg").labels``.

    Args:
        model: any network of this library; put into evaluation mode and moved to the device.
        device: ``auto`` takes a GPU if there is one.
        precision: ``bf16`` runs under autocast.
        mode: how the answer is brought to its size, see :meth:`featalign.models.Segmentor.decode`.
        max_pixels: larger image files are refused before they are decoded.
    """

    def __init__(
        self,
        model: Segmentor,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        mode: Mode = "auto",
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.precision = precision
        self.mode = mode
        self.max_pixels = max_pixels

    def __call__(
        self,
        image: Path | str | NDArray[np.uint8],
        *,
        size: Size | None = None,
        input_size: Size | None = None,
        probabilities: bool = False,
    ) -> Prediction:
        """Segment one image.

        Args:
            image: a file, or uint8 (H, W, channels).
            size: (height, width) of the answer, any; default the image's own.
            input_size: resize the image to this before the network sees it.
            probabilities: also return the softmax.

        Raises:
            DataError: if the file cannot be used.
        """
        pixels = image if isinstance(image, np.ndarray) else self.read(Path(image))
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        logits = self.logits(tensor, size=size or (pixels.shape[0], pixels.shape[1]), input_size=input_size)[0]
        labels: NDArray[np.integer] = logits.argmax(0).cpu().numpy()
        labels = labels.astype(np.uint8 if len(self.model.classes) <= 256 else np.uint16)
        softmax = logits.float().softmax(0).cpu().numpy() if probabilities else None
        return Prediction(labels, self.model.classes, softmax)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The image file as uint8 (H, W, channels). Raises DataError."""
        return read_image(path, channels=self.model.in_channels, max_pixels=self.max_pixels)

    def logits(self, images: Tensor, *, size: Size, input_size: Size | None = None) -> Tensor:
        """uint8 images (B, C, H, W) to logits ``(B, K, *size)`` on the device."""
        with torch.inference_mode(), self._autocast():
            normalized = normalize(images.to(self.device), self.model.normalization)
            if input_size is not None:
                normalized = F.interpolate(normalized, size=input_size, mode="bilinear", antialias=True)
            return self.model(normalized.contiguous(memory_format=torch.channels_last), size=size, mode=self.mode)

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()


def choose_device(name: str = "auto") -> torch.device:
    """``auto``, or any device name of torch. Raises ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'device "{name}" cannot be used ({reason}); `featalign doctor` lists those that can'
        ) from error
    return device
