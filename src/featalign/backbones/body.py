"""timm models as they are asked for here, and what timm refuses in plain words."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from featalign.backbones.weights import check_loaded, fitting, marks_of, pretrained_options
from featalign.errors import ConfigError, did_you_mean
from featalign.spec import Normalization

_DEEP_STEM = {
    "resnet18s": "resnet18",
    "resnet34s": "resnet34",
}
UNDILATED = 32  # output stride of a backbone as it is


def create_body(
    name: str, in_channels: int, *, pretrained: bool | str | os.PathLike[str], output_stride: int
) -> nn.Module:
    """The timm model with its quirks: HRNet's branches before their classification widening, Swin at any size.

    Raises:
        ConfigError: for an unknown name, weights that cannot be had, or a backbone that cannot be used so.
    """
    known = _DEEP_STEM.get(name, name) if isinstance(name, str) else ""
    if not timm.is_model(known):
        plain = str(name).removeprefix("timm/").partition(".")[0]  # as the hub writes it: timm/resnet18.a1_in1k
        raise ConfigError(f'unknown backbone "{name}": {did_you_mean(plain, [*timm.list_models(), *_DEEP_STEM])}')
    pretrained = os.fspath(pretrained) if isinstance(pretrained, os.PathLike) else pretrained
    options: dict[str, Any] = {"features_only": True, "in_chans": in_channels, **pretrained_options(pretrained)}
    if name in _DEEP_STEM:
        options |= {"stem_type": "deep", "stem_width": 64}
    if name.startswith("hrnet"):
        options["feature_location"] = ""
    if name.startswith("swin"):
        options["strict_img_size"] = False
    if output_stride < UNDILATED:
        options["output_stride"] = output_stride
    try:
        with fitting(name, pretrained):
            # Before timm reads it, which as of 1.0.20 lets a pickle run what it likes.
            given = marks_of(pretrained) if isinstance(pretrained, str) else set()
            body = timm.create_model(known, **options)
    except (RuntimeError, AttributeError) as error:
        if "loading state_dict" in str(error):
            raise ConfigError(
                f'timm\'s weights of {known} do not fit backbone "{name}"; use pretrained=False'
            ) from error
        if pretrained and "pretrained" in str(error).lower():
            raise ConfigError(f'backbone "{name}" has no published weights ({error}); use pretrained=False') from error
        raise ConfigError(f'backbone "{name}" gives no feature maps in timm ({error})') from error
    except (TypeError, AssertionError) as error:
        if output_stride == UNDILATED:
            raise
        raise ConfigError(
            f'backbone "{name}" cannot be dilated to output_stride {output_stride}; use output_stride=32, or a '
            "backbone that can (resnet, resnest, convnext, mobilenetv3, …)"
        ) from error
    except OSError as error:
        raise ConfigError(
            f'the weights of backbone "{name}" could not be downloaded ({error}); check the network, '
            "or the path of a file of them, or use pretrained=False"
        ) from error
    if isinstance(pretrained, str):
        check_loaded(body, name, pretrained, given)
    return body


def normalization_of(name: str, channels: int, *, pretrained: bool | str, depth: int = 8) -> Normalization:
    """How images are normalized for backbone ``name``: as timm says of its weights, if it has them.

    Not all were trained with ImageNet's mean and deviation. From scratch, and for other than three channels, for which
    timm changes the first convolution, it is :meth:`~featalign.spec.Normalization.for_channels`.
    """
    usual = Normalization.for_channels(channels, depth=depth)
    known = get_pretrained_cfg(_DEEP_STEM.get(name, name)) if pretrained else None
    if known is None or len(known.mean) != channels:
        return usual
    return replace(usual, mean=tuple(known.mean), std=tuple(known.std))
