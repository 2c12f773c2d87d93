"""Every fuse by its name, for the networks whose pathway takes any of them.

A fuse joins two neighbouring levels: ``fuse(coarse (B, width, h, w), fine (B, fine_channels, H, W)) -> (B, width, H,
W)``. The coarse map is fused already, the fine one comes raw from the backbone. ``factory(fine_channels, width)``
builds one; a factory of your own stands wherever a name does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn

from featalign.align.alignseg import AlignFAFuse
from featalign.align.carafe import carafe_add
from featalign.align.fapn import FaPNFuse
from featalign.align.resample import bilinear_add, deconvolution_add, nearest_add, upsampling_add
from featalign.align.sfnet import FlowFuse, GatedFlowFuse
from featalign.errors import ConfigError, did_you_mean

Fuse = Callable[[int, int], nn.Module]  # (fine_channels, width) to a module (coarse, fine) -> map at fine's size
FaPNName = Literal["fapn", "fapn_no_fsm", "fapn_se", "fapn_after", "fapn_deconvolution", "fapn_none"]
FuseName = Literal[
    "nearest",
    "bilinear",
    "deconvolution",
    "upsampling",
    "carafe",
    "sfnet",
    "sfnet_v2",
    "alignfa",
    "alignfa_coarse",
    "alignfa_fine",
    "alignfa_none",
    FaPNName,
]

FUSES: dict[FuseName, Fuse] = {
    "nearest": nearest_add,
    "bilinear": bilinear_add,
    "deconvolution": deconvolution_add,
    "upsampling": upsampling_add,
    "carafe": carafe_add,
    "sfnet": FlowFuse,
    "sfnet_v2": GatedFlowFuse,
    "alignfa": AlignFAFuse,
    "alignfa_coarse": partial(AlignFAFuse, directions="coarse"),  # AlignSeg Table 3, high to low
    "alignfa_fine": partial(AlignFAFuse, directions="fine"),  # AlignSeg Table 3, low to high
    "alignfa_none": partial(AlignFAFuse, directions="none"),  # AlignSeg Table 2, RGS: what AlignFA is measured against
    "fapn": FaPNFuse,
    "fapn_no_fsm": partial(FaPNFuse, selection="none"),  # FaPN Table 1, FPN + FAM
    "fapn_se": partial(FaPNFuse, selection="se"),  # FaPN Table 1, FPN + FAM + SE
    "fapn_after": partial(FaPNFuse, align="after"),  # FaPN Table 1, FPN + FAM† + FSM
    "fapn_deconvolution": partial(FaPNFuse, align="deconv"),  # FaPN Table 1, FPN + deconv + FSM
    "fapn_none": partial(FaPNFuse, align="none"),  # FSM and FAM's convolution without offsets: FaPN but its alignment
}


def fuse_factory(align: FuseName | Fuse) -> Fuse:
    """The factory of a name, or the one that is given. Raises ConfigError for an unknown name."""
    if callable(align):
        return align
    if not isinstance(align, str) or align not in FUSES:
        raise ConfigError(f'unknown fuse "{align}": {did_you_mean(align, FUSES)}')
    return FUSES[align]
