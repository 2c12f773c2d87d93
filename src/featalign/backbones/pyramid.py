"""Any timm backbone as a pyramid of maps: typed channels and strides; layout and size quirks end here.

    images (B, C, H, W) ──▶ stride 4, 8, 16, 32: (B, C_i, ceil(H / s_i), ceil(W / s_i)), channels first

Levels are chosen by their stride, never by their index. Names with an "s" (resnet18s, resnet34s, resnet50s,
resnet101s) are the deep-stem residual networks of the papers' counts: three 3x3 convolutions (64, 64, 128) in place
of the 7x7 one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError, did_you_mean

_DEEP_STEM = {
    "resnet18s": "resnet18",
    "resnet34s": "resnet34",
}


class Pyramid(nn.Module):
    """A timm backbone that returns one map per stride, finest first, in (B, C, h, w) layout.

    Args:
        name: of a timm model with feature maps, or one of the deep-stem names above.
        in_channels: channels of the images; timm adapts pretrained first convolutions.
        pretrained: load timm's published weights (downloads them).
        strides: the levels wanted.
        ceil_pool: let the stem's max-pooling round sizes up, as the published code of IFA and AlignSeg does: a
            1024-pixel side then has 257 cells at stride 4, not 256.
        multi_grid: dilations of the last stage's blocks; the published IFA weights have (2, 2, 4).

    Raises:
        ConfigError: for an unknown name, or a backbone that lacks a stride; the message lists what there is.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        pretrained: bool = False,
        strides: Sequence[int] = (4, 8, 16, 32),
        ceil_pool: bool = False,
        multi_grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.body = _create(name, in_channels, pretrained)
        self.in_channels = in_channels
        self.strides = tuple(strides)
        features: Any = self.body.feature_info
        reductions: list[int] = features.reduction()
        missing = [stride for stride in strides if stride not in reductions]
        if missing:
            raise ConfigError(
                f'backbone "{name}" has no map of stride {_listed(missing)}; its strides are {_listed(reductions)}; '
                "choose a backbone whose maps shrink from stage to stage (resnet, convnext, swin, hrnet, …)"
            )
        self._levels = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides]
        self.channels = tuple(features.channels()[level] for level in self._levels)
        if ceil_pool:
            _ceil_pool(self.body, name)
        if multi_grid is not None:
            _dilate_last_stage(self.body, name, multi_grid)
        self._channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.body.modules())
        self._pads = False
        if not all(self._covers(side) for side in (1, max(strides) + 1)):
            self._pads = True
            if not self._covers(1):
                raise ConfigError(
                    f'backbone "{name}" accepts only image sizes of its own; choose one that takes any size'
                )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) of any size from 1 pixel to one map per stride, finest first.

        A backbone that would drop a remainder of pixels, or refuse the size, is given a border of repeated pixels,
        and the maps are cut back.

        Raises:
            ValueError: when training on a single image so small that its last map is one cell: batch normalization
                has no variance there.
        """
        height, width = images.shape[-2:]
        single_cell = images.shape[0] == 1 and max(height, width) <= max(self.strides) and not self._pads
        if single_cell and self.training and self._batch_norm:
            raise ValueError(
                f"cannot train on one image of {height}x{width} pixels: its map at stride {max(self.strides)} is a "
                "single cell, which batch normalization cannot use; take a larger crop or a batch of at least 2"
            )
        if not self._pads:
            return self._maps(images)
        cut = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in self.strides]
        maps = self._maps(_pad(images, max(self.strides)))
        return [level[..., :h, :w] for level, (h, w) in zip(maps, cut, strict=True)]

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.body(images)
        chosen = [maps[level] for level in self._levels]
        return [level.permute(0, 3, 1, 2) for level in chosen] if self._channels_last else chosen

    @torch.no_grad()
    def _covers(self, side: int) -> bool:
        """Whether a small image, of a side that no stride divides, comes out rounded up at every level (tried once)."""
        images = torch.zeros(1, self.in_channels, side, side, device=next(self.body.parameters()).device)
        was_training = self.training
        try:
            maps = self.eval()(images)
        except (RuntimeError, AssertionError):
            return False
        finally:
            self.train(was_training)
        return all(
            level.shape[-1] >= math.ceil(side / stride) for level, stride in zip(maps, self.strides, strict=True)
        )


def _create(name: str, in_channels: int, pretrained: bool) -> nn.Module:
    """The timm model with its quirks: HRNet's branches before their classification widening, Swin at any size."""
    known = _DEEP_STEM.get(name, name)
    if not timm.is_model(known):
        raise ConfigError(f'unknown backbone "{name}": {did_you_mean(name, [*timm.list_models(), *_DEEP_STEM])}')
    options: dict[str, Any] = {"features_only": True, "in_chans": in_channels, "pretrained": pretrained}
    if name in _DEEP_STEM:
        options |= {"stem_type": "deep", "stem_width": 64}
    if name.startswith("hrnet"):
        options["feature_location"] = ""
    if name.startswith("swin"):
        options["strict_img_size"] = False
    try:
        return timm.create_model(known, **options)
    except (RuntimeError, AttributeError) as error:
        if pretrained and "pretrained" in str(error).lower():
            raise ConfigError(f'backbone "{name}" has no published weights ({error}); use pretrained=False') from error
        raise ConfigError(f'backbone "{name}" gives no feature maps in timm ({error})') from error
    except OSError as error:
        raise ConfigError(
            f'the weights of backbone "{name}" could not be downloaded ({error}); check the network, '
            "or use pretrained=False"
        ) from error


def _pad(images: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column up to a multiple of ``stride`` and to at least two cells of it."""
    height, width = images.shape[-2:]
    missing = [max(-side % stride, 2 * stride - side) for side in (width, height)]
    return F.pad(images, (0, missing[0], 0, missing[1]), mode="replicate")


def _ceil_pool(body: nn.Module, name: str) -> None:
    pool = getattr(body, "maxpool", None)
    if not isinstance(pool, nn.MaxPool2d):
        raise ConfigError(f'ceil_pool changes the max-pooling of a residual network\'s stem; "{name}" has none')
    pool.ceil_mode = True


def _dilate_last_stage(body: nn.Module, name: str, dilations: Sequence[int]) -> None:
    """Dilate the 3x3 convolution of each bottleneck of the last stage, keeping its stride."""
    blocks = list(getattr(body, "layer4", ()))
    if len(blocks) != len(dilations) or not all(hasattr(block, "conv3") for block in blocks):
        raise ConfigError(
            f"multi_grid {tuple(dilations)} needs a residual network with {len(dilations)} bottlenecks in its last "
            f'stage; "{name}" has none such'
        )
    for block, dilation in zip(blocks, dilations, strict=True):
        block.conv2.dilation = block.conv2.padding = (dilation, dilation)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
