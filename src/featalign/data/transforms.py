"""What happens to a sample before it trains a model: random scale, crop, flip and colour jitter; and normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from featalign.data.sample import Sample
from featalign.errors import ConfigError
from featalign.spec import IGNORE_INDEX, Normalization

Size = tuple[int, int]


def train_transform(
    *,
    crop: int | Size,
    scales: tuple[float, float] = (0.5, 2.0),
    flip: float = 0.5,
    jitter: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    normalization: Normalization | None = None,
) -> Callable[[Sample], Sample]:
    """The augmentation of the papers (IFA section 4.2): random scale, padding, random crop, horizontal flip.

    The scale is uniform in ``scales``, the crop (height, width; one number for a square) uniform over all positions.
    Where the scaled image is smaller than the crop, it lies at a random place in it: the mask is padded with
    ``ignore_index``, the image with the mean colour of ``normalization`` (default ``Normalization.for_channels``), so
    about zero once normalized. ``flip`` is a probability; ``jitter`` the strength, 0 … 1, of random brightness,
    contrast and saturation (1 or 3 channels). All randomness comes from torch's default generator.

    A sample may have boxes and a stack of objects' masks (N, H, W) too, which are padded with 0: what can still be seen
    of them :func:`featalign.data.objects.object_transform` sorts out.

    Raises:
        ConfigError: if an option is out of range.
    """
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if min(height, width) < 1:
        raise ConfigError(f"crop must be at least 1 x 1, got {height} x {width}")
    if not 0 < scales[0] <= scales[1]:
        raise ConfigError(f"scales must be 0 < low <= high, got {scales}")
    cut = RandomScaleCrop((height, width), scales, ignore_index, normalization)
    return v2.Compose([cut, whole_transform(flip=flip, jitter=jitter)])


def whole_transform(*, flip: float = 0.5, jitter: float = 0.0) -> Callable[[Sample], Sample]:
    """What :func:`train_transform` does after its crop."""
    for name, share in {"flip": flip, "jitter": jitter}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} must be in 0 … 1, got {share}")
    steps: list[v2.Transform] = [v2.RandomHorizontalFlip(flip)]
    return v2.Compose([*steps, ColorJitter(jitter, jitter, jitter)] if jitter else steps)


class RandomScaleCrop(v2.Transform):
    """Scale, pad, crop; but only the part of the image that the crop shows is ever resized."""

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask, tv_tensors.BoundingBoxes)

    def __init__(
        self, crop: Size, scales: tuple[float, float], ignore_index: int, normalization: Normalization | None
    ) -> None:
        super().__init__()
        self.crop, self.scales, self.ignore_index, self.normalization = crop, scales, ignore_index, normalization

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = self.scales
        scale = low + (high - low) * torch.rand(()).item()
        size = v2.query_size(flat_inputs)
        scaled = [max(1, round(side * scale)) for side in size]
        corner = [_random_corner(side, crop) for side, crop in zip(scaled, self.crop, strict=True)]
        return {"scaled": scaled, "corner": corner}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        scaled, corner = params["scaled"], params["corner"]
        if isinstance(inpt, tv_tensors.Image):
            normalization = self.normalization or Normalization.for_channels(inpt.shape[0])
            _check_channels(inpt.shape[0], normalization)
            fill = [round(scale_of(inpt) * mean) for mean in normalization.mean]
            return tv_tensors.Image(crop_scaled_image(inpt, scaled, corner, self.crop, fill))
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return tv_tensors.wrap(crop_scaled_boxes(inpt, scaled, corner, self.crop), like=inpt, canvas_size=self.crop)
        outside = self.ignore_index if inpt.ndim == 2 else 0
        return tv_tensors.Mask(crop_scaled_mask(inpt, scaled, corner, self.crop, outside))


class ColorJitter(v2.ColorJitter):
    """torchvision's, for 16 bits too, with a clear error for images that have no colour in its sense."""

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        channels = v2.query_chw([inpt for inpt in flat_inputs if isinstance(inpt, tv_tensors.Image)])[0]
        if channels not in (1, 3):
            raise ConfigError(f"jitter works on images of 1 or 3 channels, got {channels}; set jitter to 0")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image) or inpt.dtype == torch.uint8:
            return super().transform(inpt, params)
        scale = scale_of(inpt)  # torchvision takes floats for 0 … 1, and clips them to that
        return tv_tensors.Image(super().transform(tv_tensors.Image(inpt / scale), params) * scale)


def scale_of(image: Tensor) -> int:
    """The largest value of an image's pixels: 255 of uint8, 65535 of the float32 that 16 bits are read as."""
    return 255 if image.dtype == torch.uint8 else 65535


def crop_scaled_image(image: Tensor, scaled: Size, corner: Size, crop: Size, fill: list[int]) -> Tensor:
    """The crop at ``corner`` of ``image`` (C, H, W), uint8 or float32, scaled to ``scaled``, bilinear, antialiased.

    All sizes are (rows, columns). Corners may be negative: what lies outside of the image is ``fill``.
    The pixels next to the crop take part in its antialiasing, as if the whole image had been scaled
    first: the result is the same, but for the rounding.
    """
    channels, height, width = image.shape
    (top, bottom), (left, right) = (_visible(c, s, k) for c, s, k in zip(corner, scaled, crop, strict=True))
    pixels = image.permute(1, 2, 0).numpy()
    canvas = np.empty((*crop, channels), pixels.dtype)
    if (bottom - top, right - left) != crop:
        canvas[:] = fill
    source = (
        left * width / scaled[1],
        top * height / scaled[0],
        right * width / scaled[1],
        bottom * height / scaled[0],
    )
    seen = _resize(pixels, (right - left, bottom - top), source)
    canvas[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]] = seen
    return torch.from_numpy(canvas).permute(2, 0, 1)


def crop_scaled_mask(mask: Tensor, scaled: Size, corner: Size, crop: Size, fill: int) -> Tensor:
    """The same crop of ``mask`` (…, H, W): each pixel takes the value of the source pixel that its centre lies in."""
    (top, bottom), (left, right) = (_visible(c, s, k) for c, s, k in zip(corner, scaled, crop, strict=True))
    rows = (2 * torch.arange(top, bottom) + 1) * mask.shape[-2] // (2 * scaled[0])
    columns = (2 * torch.arange(left, right) + 1) * mask.shape[-1] // (2 * scaled[1])
    canvas = torch.full((*mask.shape[:-2], *crop), fill, dtype=mask.dtype)
    seen = mask[..., rows[:, None], columns]
    canvas[..., top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]] = seen
    return canvas


def crop_scaled_boxes(boxes: tv_tensors.BoundingBoxes, scaled: Size, corner: Size, crop: Size) -> Tensor:
    """The same crop of boxes (N, 4), left, top, right, bottom; what lies outside of it is cut off."""
    factor = [after / before for after, before in zip(scaled, boxes.canvas_size, strict=True)]
    moved = boxes.as_subclass(Tensor) * torch.tensor([*factor[::-1]] * 2) - torch.tensor([*corner[::-1]] * 2)
    return moved.clamp(min=torch.zeros(4), max=torch.tensor([*crop[::-1]] * 2, dtype=torch.float32))


def normalize(images: Tensor, normalization: Normalization) -> Tensor:
    """Images (…, C, H, W) as float32, ``(pixel / scale - mean) / std`` per channel.

    Images are uint8, or float32 of 0 … 65535 where ``normalization.scale`` says that they have 16 bits.

    Raises:
        ConfigError: if the type of the images does not fit the scale, or their channels are not those of
            ``normalization``.
    """
    scale = normalization.scale
    if images.dtype not in (torch.uint8, torch.float32) or scale_of(images) != scale:
        raise ConfigError(
            f"normalize got {images.dtype} images for a scale of {scale:g}; it expects uint8 images (0 … 255) with "
            "scale 255, or float32 images (16 bits, 0 … 65535) with scale 65535"
        )
    _check_channels(images.shape[-3], normalization)
    mean, std = (
        images.new_tensor(v, dtype=torch.float32)[:, None, None] for v in (normalization.mean, normalization.std)
    )
    return (images.float() - scale * mean) / (scale * std)


def _check_channels(channels: int, normalization: Normalization) -> None:
    if not {len(normalization.mean), len(normalization.std)} <= {1, channels}:
        raise ConfigError(f"images of {channels} channels, but {normalization}; give one value, or one per channel")


def _random_corner(side: int, crop: int) -> int:
    """First row or column of the crop in the scaled image, uniform over all places where one contains the other."""
    slack = side - crop
    return int(torch.randint(min(slack, 0), max(slack, 0) + 1, ()).item())


def _visible(corner: int, side: int, crop: int) -> Size:
    """The range of the scaled image that the crop shows."""
    return max(corner, 0), min(corner + crop, side)


def _resize(image: NDArray[Any], size: Size, source: tuple[float, float, float, float]) -> NDArray[Any]:
    """Pillow's resize of a part given in fractions of pixels; ``size`` is (columns, rows).

    Pillow knows grey (8 bits or float) and RGB (8 bits); others go channel by channel (as RGBA, the fourth would be
    taken for transparency).
    """
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, source))
    channels = (np.ascontiguousarray(image[..., c]) for c in range(image.shape[2]))
    bands = (Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR, source) for channel in channels)
    return np.stack([np.asarray(band) for band in bands], axis=-1)
