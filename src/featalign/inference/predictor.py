"""The one way from an image to its segmentation, shared by prediction, evaluation and the check of exported files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featalign.align.budget import free_bytes
from featalign.data import DEFAULT_MAX_PIXELS, normalize, read_image
from featalign.errors import ConfigError
from featalign.inference.averaging import Average
from featalign.inference.budget import Budget, Needs, check_room
from featalign.inference.checks import check_choice, check_image, check_network, check_weights, checked_size
from featalign.inference.devices import choose_device
from featalign.inference.live_memory import EncoderMemory
from featalign.inference.network import WHOLE, Box, Network, Size, look
from featalign.inference.picture import Picture
from featalign.inference.regions import region_of
from featalign.inference.views import Published, View, Views
from featalign.models import Segmentor
from featalign.models.adaptive import EFFORT
from featalign.models.network import Mode
from featalign.spec import Classes, Depth

Precision = Literal["fp32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Prediction:
    """``labels``: uint8 (h, w) class ids, uint16 beyond 256 classes. ``probabilities``: float32 (K, h, w), if asked
    for."""

    labels: NDArray[np.integer]
    classes: Classes
    probabilities: NDArray[np.float32] | None = None


class Predictor:
    """Segments images with a network: ``Predictor(featalign.load("run"))("street.jpg").labels``.

    Args:
        model: any network of this library, put into evaluation mode and moved to the device; or an exported one.
        device: ``auto`` takes a GPU if there is one.
        precision: ``bf16`` and ``fp16`` run the network under autocast, an exported one excepted; averages are always
            float32.
        mode: how the answer is brought to its size, see :meth:`featalign.models.Segmentor.decode`.
        effort: where that is ``adaptive``, the largest share of the answer's pixels at which the network is asked; None
            takes the decoder's own default.
        scales, flip, window, overlap, published: which views of an image are averaged and how, see
            :class:`~featalign.inference.views.Views`; by default one, the whole image.
        max_memory: bytes that one image may take besides itself, its answer and the network's weights. None: what is
            free.
        max_pixels: larger image files are refused before they are decoded.

    Raises:
        ConfigError: for a device that is not there, an option out of range, or weights of another precision.
    """

    def __init__(
        self,
        model: Network,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        mode: Mode = "auto",
        effort: float | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: Size | None = None,
        overlap: float = 1 / 3,
        published: Published | None = None,
        max_memory: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        check_network(model)
        check_choice("precision", precision, get_args(Precision))
        check_choice("mode", mode, get_args(Mode))
        self.device = choose_device(device)
        self.model: Network = model
        if isinstance(model, nn.Module):
            check_weights(model, precision, HALF.get(precision))
            self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        elif precision != "fp32":
            raise ConfigError(f"an exported file computes as it was exported; leave out the precision {precision}")
        self._encoder = EncoderMemory(model) if isinstance(model, Segmentor) else None
        self.precision = precision
        self.mode = mode
        self.effort = _checked_effort(effort, mode, model)
        self.views = Views(scales=tuple(scales), flip=flip, window=window, overlap=overlap, published=published)
        self.max_memory = max_memory
        self.max_pixels = max_pixels

    def __call__(
        self,
        image: Path | str | NDArray[np.integer],
        *,
        size: Size | None = None,
        input_size: Size | None = None,
        box: Box | None = None,
        probabilities: bool = False,
    ) -> Prediction:
        """Segment one image.

        Args:
            image: a file, or (H, W, channels), uint8 or, where :attr:`depth` is 16, uint16.
            size: (height, width) of the answer, any; default the image's own, or that of the box in it.
            input_size: resize the image to this before the network sees it; scales are relative to it.
            box: (left, top, right, bottom) in [0, 1]: answer for this part only.
            probabilities: also return the averaged softmax.

        Raises:
            DataError: if the file cannot be used.
            ConfigError: for an array of another form, a size or box that is none, an answer that memory cannot hold, or
                too small a budget of it.
        """
        check_image(image, channels=self.model.in_channels, depth=self.depth)
        pixels = image if isinstance(image, np.ndarray) else self.read(Path(image))
        asked = 1 + 4 * len(self.model.classes) * probabilities
        average = self._average(as_images(pixels), size=size, input_size=input_size, box=box, pixel_bytes=asked)
        softmax = average.probabilities()[0] if probabilities else None
        ids = average.labels()[0] if softmax is None else softmax.argmax(0)
        labels: NDArray[np.integer] = ids.cpu().numpy()
        labels = labels.astype(np.uint8 if len(self.model.classes) <= 256 else np.uint16)
        return Prediction(labels, self.model.classes, None if softmax is None else softmax.cpu().numpy())

    def read(self, path: Path) -> NDArray[np.integer]:
        """The image file as uint8 (H, W, channels), or uint16 where the model's normalization is of 16 bits. Raises
        DataError."""
        return read_image(path, channels=self.model.in_channels, depth=self.depth, max_pixels=self.max_pixels)

    @property
    def depth(self) -> Depth:
        """Bits per channel of the images that the network reads."""
        return self.model.normalization.depth

    def labels(
        self, images: Tensor, *, size: Size | None = None, input_size: Size | None = None, box: Box | None = None
    ) -> Tensor:
        """uint8 images (B, C, H, W) to class ids ``(B, *size)`` on the device, of the smallest type that holds them.

        Probabilities of all classes are never held for the whole answer, but for bands of it that fit the budget.
        """
        return self._average(images, size=size, input_size=input_size, box=box).labels()

    def logits(self, images: Tensor, *, size: Size, input_size: Size | None = None) -> Tensor:
        """uint8 images (B, C, H, W), seen once and whole whatever the views, to logits ``(B, K, *size)``."""
        shown = self.shown(images, input_size)
        seen = look(self.model, shown, grid=size, mode=self.mode, effort=self.effort, context=self._context)
        return seen.logits(WHOLE, size)

    def shown(self, images: Tensor, input_size: Size | None = None) -> Tensor:
        """Images (B, C, H, W), uint8 or, of 16 bits, float32, as the network sees them whole: normalized float32
        (B, C, ``*input_size``) on the device, by default of their own size. Raises ConfigError for a wrong size."""
        picture = self.picture(images)
        view = Views().of(checked_size("input_size", input_size) or picture.size, picture.size)[0]
        part = picture.part(view.size, view.rows[0], view.columns[0])
        return part.contiguous(memory_format=torch.channels_last)

    def _average(
        self, images: Tensor, *, size: Size | None, input_size: Size | None, box: Box | None, pixel_bytes: int = 1
    ) -> Average:
        """``pixel_bytes``: what a pixel of the answer takes at least."""
        picture = self.picture(images)
        region, natural = region_of(box, picture.size)
        output = checked_size("size", size) or natural
        check_room(output, images.shape[0] * pixel_bytes)
        shown = checked_size("input_size", input_size) or picture.size
        return self.average(picture, self.views.of(shown, output, region), output, self.max_memory)

    def average(self, picture: Picture, views: Sequence[View], output: Size, max_memory: int | None) -> Average:
        """The answer of size ``output`` to a picture of this predictor, seen so, in ``max_memory`` bytes."""
        needs = self.needs(picture.size, output, views, batch=picture.images.shape[0])
        return Average(
            network=self.model,
            picture=picture,
            views=self.views,
            seen=views,
            output=output,
            budget=Budget(needs, max_memory, partial(free_bytes, self.device)),
            mode=self.mode,
            context=self._context,
            device=self.device,
            effort=self.effort,
        )

    def picture(self, images: Tensor, *, whole: Size | None = None, origin: tuple[int, int] = (0, 0)) -> Picture:
        """Images (B, C, H, W), or what was cut at ``origin`` from larger ones, as the network is shown them."""
        return Picture(images, self._prepare, self.views.published is not None, whole, origin)

    def _prepare(self, part: Tensor) -> Tensor:
        return normalize(part.to(self.device), self.model.normalization)

    def needs(self, image: Size, output: Size, views: Sequence[View], *, batch: int = 1) -> Needs:
        """What an answer takes of memory."""
        return Needs(
            batch=batch,
            channels=self.model.in_channels,
            classes=len(self.model.classes),
            image=image,
            output=output,
            views=views,
            flips=len(self.views.flips),
            encoder=self._encoder,
        )

    def _context(self) -> AbstractContextManager[None]:
        half = HALF.get(self.precision)
        return nullcontext() if half is None else torch.autocast(self.device.type, half)


def _checked_effort(effort: float | None, mode: Mode, model: Network) -> float:
    """The share that applies. Raises ConfigError for one that could not be heeded."""
    if effort is None:
        return EFFORT
    if not 0 <= effort <= 1:
        raise ConfigError(f"effort is a share of the answer's pixels, 0 to 1, got {effort:g}")
    if not isinstance(model, Segmentor):
        raise ConfigError("an exported file answers as it was exported; leave out the effort")
    applies = model.auto_mode if mode == "auto" else mode
    if applies != "adaptive":
        raise ConfigError(f'effort is the dial of mode "adaptive", the mode here is "{applies}"; take that mode')
    return effort


def as_images(pixels: NDArray[np.integer]) -> Tensor:
    """(H, W, C) to (1, C, H, W): uint8, or float32 for the deeper ones that torch hardly calculates with."""
    array = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    # torch takes no negative stride, not even of an axis of length 1, which counts as contiguous; and it warns of what
    # may only be read, as what `np.asarray` makes of PIL's images.
    if min(array.strides) < 0 or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]
