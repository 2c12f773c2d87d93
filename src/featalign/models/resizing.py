"""Images to the size that a detector reads, and what it finds back to the image's own: torchvision's way, with masks
where they belong.

torchvision pastes a mask into whole pixels around its box, one row and one column too many, and resizes true masks by
the corners of pixels. Both place masks half a pixel or more beside the object, which small ones feel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

ROI_SHIFT = 0.5
"""For a box, torchvision's head learns the mask of the box moved right and down by so many pixels of the resized image:
in its RoIAlign the centre of pixel i is at i, for boxes it is at i + 1/2."""


class Resizing(GeneralizedRCNNTransform):
    """Images to a batch, and answers to the images' own size.

    Args:
        min_size: of the shorter side; of several training draws one, and the last is that of evaluation. None leaves
            images as they are.
        max_size: of the longer side.
        image_mean, image_std: of the images, one value for each channel.
        mask_shift: what is added to boxes, in pixels of the resized image, to have where their masks lie.
    """

    def __init__(
        self,
        min_size: Sequence[int] | None = None,
        max_size: int = 1333,
        *,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        mask_shift: float = 0.0,
    ) -> None:
        super().__init__(min_size or max_size, max_size, list(image_mean), list(image_std))
        self.keeps_size = min_size is None
        self.mask_shift = mask_shift

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        if self.keeps_size:
            return image, target
        size, shown = (image.shape[-2], image.shape[-1]), self._shown(image)
        image = F.interpolate(image[None], shown, mode="bilinear", align_corners=False)[0]
        if target is None:
            return image, None
        resized = {**target, "boxes": resize_boxes(target["boxes"], size, shown)}
        if "masks" in target:
            resized["masks"] = F.interpolate(target["masks"][:, None].float(), shown, mode="nearest-exact")[:, 0].byte()
        return image, resized

    def _shown(self, image: Tensor) -> tuple[int, int]:
        """The size that an image is brought to: torchvision's, but for sides that it would leave without a pixel."""
        height, width = image.shape[-2:]
        least = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
        scale = min(least / min(height, width), self.max_size / max(height, width))
        return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))

    def postprocess(
        self, result: list[dict[str, Tensor]], image_shapes: list[Any], original_image_sizes: list[Any]
    ) -> list[dict[str, Tensor]]:
        if self.training:
            return result
        answers = []
        for found, shown, size in zip(result, image_shapes, original_image_sizes, strict=True):
            answer = {**found, "boxes": resize_boxes(found["boxes"], shown, size)}
            if "masks" in found:
                places = resize_boxes(found["boxes"] + self.mask_shift, shown, size)
                answer["masks"] = paste_masks(found["masks"], places, size)
            answers.append(answer)
        return answers


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks of boxes as masks of the image: each pixel's centre is read by bilinear interpolation; beyond is 0.

    Args:
        masks: (N, 1, m, m) over the boxes.
        boxes: (N, 4), left, top, right, bottom in pixels, edges of pixels.
        size: of the image, height and width.

    Returns:
        (N, 1, *size).
    """
    pasted = masks.new_zeros(len(masks), 1, *size)
    for index, (mask, (left, top, right, bottom)) in enumerate(zip(masks[:, 0], boxes.tolist(), strict=True)):
        rows, down = _read(top, bottom, len(mask), size[0], like=mask)
        columns, across = _read(left, right, len(mask), size[1], like=mask)
        pasted[index, 0, rows, columns] = down @ mask @ across.T  # no view of many is written to with gradients on
    return pasted


def _read(low: float, high: float, cells: int, length: int, *, like: Tensor) -> tuple[slice, Tensor]:
    """Along one axis: the pixels of ``length`` that ``cells`` over ``low`` … ``high`` reach, and each one's weights of
    the cells, (pixels, cells)."""
    pitch = max(high - low, 1e-6) / cells
    first, last = max(0, math.floor(low - pitch / 2)), min(length, math.ceil(high + pitch / 2))
    pixels = torch.arange(first, max(first, last), device=like.device, dtype=torch.float32) + 0.5
    away = ((pixels - low) / pitch - 0.5)[:, None] - torch.arange(cells, device=like.device)
    return slice(first, max(first, last)), (1 - away.abs()).clamp(min=0).to(like)
