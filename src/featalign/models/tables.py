"""The papers' tables of parameters and GFLOPs, and how to build each row here.

A row is one line of data: what is printed, what builds it, and, where that does not meet the print, why.
:mod:`featalign.models.counts` counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from featalign.align.fapn import DeformableConv
from featalign.models.complexity import complexity
from featalign.models.segmentor import Segmentor

CLASSES = 19  # Cityscapes, in every table


@dataclass(frozen=True)
class Row:
    """A row as printed: parameters in millions, GFLOPs if there are any; what builds it here, None if nothing does."""

    label: str
    parameters: float
    gflops: float | None
    build: dict[str, Any] | None
    note: str = ""
    """Why it does not match, where it does not; what was inferred."""


@dataclass(frozen=True)
class Table:
    """A table with the convention of its counts; ``count`` gives the FLOPs of a model at an image size."""

    title: str
    size: tuple[int, int]
    convention: str
    count: Callable[[Segmentor, tuple[int, int]], int]
    rows: tuple[Row, ...]


def _papers_flops(model: Segmentor, size: tuple[int, int]) -> int:
    return complexity(model, size).papers_flops


def _convolutions(model: Segmentor, size: tuple[int, int]) -> int:
    """Multiply-adds of the ordinary convolutions alone; ``model`` is on the meta device."""
    products: list[int] = []

    def multiply(module: DeformableConv, _: object, output: Tensor) -> None:
        products.append(output[0, 0].numel() * module.convolution.weight.numel())

    deformable = [module for module in model.modules() if isinstance(module, DeformableConv)]
    image = torch.empty(1, model.in_channels, *size, device="meta")
    with ExitStack() as hooks, torch.no_grad(), FlopCounterMode(display=False) as counter:
        for module in deformable:
            hooks.enter_context(module.register_forward_hook(multiply))
        model.eval()(image, mode="resized")
    counted = int(counter.get_flop_counts()["Global"][torch.ops.aten.convolution]) // 2
    return counted - sum(products)  # the product of what was sampled is computed as a 1x1 convolution


def _ifa(backbone: str, align: str = "ifa", **options: Any) -> dict[str, Any]:
    """What all of IFA's rows have in common."""
    return {"name": "fpn", "align": align, "backbone": backbone, "ceil_pool": True, **options}


def _fapn(align: str, name: str = "fapn", **options: Any) -> dict[str, Any]:
    return {"name": name, "align": align, **options}


def _refined(align: str, name: str = "fapn", **options: Any) -> dict[str, Any]:
    """With the head of PointRend, as all rows of FaPN's Table 1."""
    return _fapn(align, name, point_head=True, **options)


_LARGE: dict[str, Any] = {"hidden": (512, 256)}
_SMALL: dict[str, Any] = {"width": 64, **_LARGE}
_IFA_CONVENTION = (
    "At 1024 x 1024, auxiliary head included; GFLOPs: multiply-adds of convolutions and matrix products, 2 per element "
    "of a batch normalization, 1 per element of a ReLU"
)
_ASSUMED = "the MLP, 512-256, is inferred from these counts"
_INFERRED = "the paper gives neither width nor MLP for ResNet-18; these were found by search"

TABLES = (
    Table(
        "IFA Table 1",
        (1024, 1024),
        _IFA_CONVENTION,
        _papers_flops,
        (
            Row("bilinear up-sampling", 27.7, 183.4, _ifa("resnet50s", "bilinear")),
            Row("nearest neighbor", 27.7, 183.4, _ifa("resnet50s", "nearest")),
            Row(
                "deconvolution",
                29.5,
                304.4,
                _ifa("resnet50s", "deconvolution"),
                "the paper counts a transposed convolution's kernel at every output cell, which would make 303.5",
            ),
            Row(
                "up-sampling module",
                31.0,
                219.1,
                _ifa("resnet50s", "upsampling"),
                "1, 2, 3 convolutions per level is the nearest form found; the paper does not say",
            ),
            Row(
                "CARAFE",
                29.0,
                190.5,
                _ifa("resnet50s", "carafe"),
                "the paper also counts the reassembly by predicted kernels",
            ),
            Row(
                "AlignSeg",
                49.7,
                348.6,
                {"name": "alignseg", "backbone": "resnet50s", "ceil_pool": True},
                "a plain stem with IFA's auxiliary head would make 49.50; its GFLOPs follow another convention",
            ),
            Row("IFA", 27.8, 186.9, _ifa("resnet50s")),
        ),
    ),
    Table(
        "IFA Table 5",
        (1024, 1024),
        _IFA_CONVENTION,
        _papers_flops,
        (
            Row("IFA, ResNet-18", 12.3, 93.3, _ifa("resnet18s", **_SMALL), _INFERRED),
            Row("IFA*, ResNet-18", 16.8, 98.0, _ifa("resnet18s", **_SMALL, aspp=256), _INFERRED),
            Row("IFA, ResNet-101", 46.7, 262.8, _ifa("resnet101s", **_LARGE), _ASSUMED),
            Row("IFA*, ResNet-101", 64.3, 281.4, _ifa("resnet101s", **_LARGE, aspp=256), _ASSUMED),
        ),
    ),
    Table(
        "FaPN Table 1",
        (1024, 1024),
        "With the head of PointRend, as the published networks",
        _convolutions,
        (
            Row("FPN, ResNet-50", 28.6, None, _refined("nearest", "semantic_fpn")),
            Row(
                "FPN + extra 3x3 conv., ResNet-50",
                33.4,
                None,
                _refined("nearest", "semantic_fpn", extra_convolutions=2),
                "two on each level make the count; the paper does not say where they stand",
            ),
            Row("FPN, ResNet-101", 47.6, None, _refined("nearest", "semantic_fpn", backbone="resnet101")),
            Row("FPN + FAM", 31.7, None, _refined("fapn_no_fsm")),
            Row("FPN + FAM + SE", 33.1, None, _refined("fapn_se")),
            Row("FPN + FAM + FSM (FaPN)", 33.1, None, _refined("fapn")),
            Row("FPN + deconv + FSM", 32.7, None, _refined("fapn_deconvolution")),
            Row("FPN + FAM† + FSM", 32.7, None, _refined("fapn_after")),
        ),
    ),
    Table(
        "FaPN supplement, Table I",
        (768, 1536),
        "At 768 x 1536, ResNet-18; GFLOPs: multiply-adds of convolutions alone, without the deformable ones' product",
        _convolutions,
        (
            Row("FPN", 11.4, 44.5, _fapn("nearest", "fapn_realtime")),
            Row("+ FAM", 12.2, 51.0, _fapn("fapn_no_fsm", "fapn_realtime", join="add")),
            Row("+ FAM + FSM", 12.6, 51.0, _fapn("fapn", "fapn_realtime", join="add")),
            Row("+ FAM + FSM + Concat", 12.6, 51.8, _fapn("fapn", "fapn_realtime", join="concat")),
        ),
    ),
)
