"""Changes to the stages of a finished timm backbone, in place; names of parameters stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from timm.models import FeatureListNet
from torch import Tensor, nn

from featalign.errors import ConfigError, check_count, check_counts

OUTPUT_STRIDES = (8, 16, 32)


def check_changes(output_stride: int, extra_stride: int) -> None:
    """Refuse strides that no backbone could be given. Raises ConfigError."""
    if output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"output_stride must be one of {', '.join(map(str, OUTPUT_STRIDES))}, got {output_stride}")
    check_count(extra_stride=extra_stride)
    if output_stride < max(OUTPUT_STRIDES) and extra_stride > 1:
        raise ConfigError(
            f"output_stride {output_stride} keeps maps fine and extra_stride {extra_stride} makes them coarse; "
            "choose one of the two"
        )


def undilated(reductions: Sequence[int]) -> list[int]:
    """The strides that dilated stages would have had: 4, 8, 8, 8 to 4, 8, 16, 32."""
    strides: list[int] = []
    for reduction in reductions:
        strides.append(reduction if not strides or reduction > strides[-1] else 2 * strides[-1])
    return strides


def round_pooling_up(body: nn.Module, name: str) -> None:
    """Let the stem's max-pooling round sizes up. Raises ConfigError where there is none."""
    pool = getattr(body, "maxpool", None)
    if not isinstance(pool, nn.MaxPool2d):
        raise ConfigError(f'ceil_pool changes the max-pooling of a residual network\'s stem; "{name}" has none')
    pool.ceil_mode = True


def dilate_last_stage(body: nn.Module, name: str, dilations: Sequence[int]) -> None:
    """Multiply the dilation of the 3x3 convolution of each bottleneck of the last stage, keeping its stride."""
    check_counts(multi_grid=dilations)
    blocks = list(getattr(body, "layer4", ()))
    if len(blocks) != len(dilations) or not all(hasattr(block, "conv3") for block in blocks):
        raise ConfigError(
            f"multi_grid {tuple(dilations)} needs a residual network with {len(dilations)} bottlenecks in its last "
            f'stage; "{name}" has none such'
        )
    for block, factor in zip(blocks, dilations, strict=True):
        dilation = tuple(factor * rate for rate in block.conv2.dilation)
        block.conv2.dilation = block.conv2.padding = dilation


def pool_before_second_stage(body: nn.Module, name: str, *, level: int, factor: int, channels_last: bool) -> None:
    """Average ``factor`` x ``factor`` cells of the map ``level`` on its way into the next stage (IFA, Table 3).

    The map itself is given out as it was. Cells at the far borders average what there is, so sizes round up.
    Raises ConfigError for a backbone that does not run stage by stage.
    """
    stage = _reader(body, level)
    if stage is None:
        raise ConfigError(
            f'extra_stride pools between the first two stages; backbone "{name}" does not run stage by stage; '
            "use extra_stride=1, or a residual network, convnext, swin, …"
        )

    stage.register_forward_pre_hook(partial(_pool, factor=factor, channels_last=channels_last))


def _pool(_: nn.Module, inputs: tuple[Tensor, ...], *, factor: int, channels_last: bool) -> Tensor:
    """What a stage takes in, averaged: a hook that can be pickled."""
    x = inputs[0].permute(0, 3, 1, 2) if channels_last else inputs[0]
    x = F.avg_pool2d(x, factor, ceil_mode=True)
    return x.permute(0, 2, 3, 1) if channels_last else x


def _reader(body: Any, level: int) -> nn.Module | None:
    """The module that takes in the feature map ``level``, in the two ways in which timm chains stages."""
    if isinstance(body, FeatureListNet):
        names = list(body)
        given_out = [name for name in names if name in body.return_layers]
        following = names.index(given_out[level]) + 1
        return body[names[following]] if following < len(names) else None
    info = body.feature_info[level]
    blocks = getattr(body, "blocks", None)
    return blocks[info["stage"]] if isinstance(blocks, nn.Sequential) and "stage" in info else None
