"""What brings maps of different resolution into agreement."""

from featalign.align.alignseg import AlignFA, AlignFAFuse
from featalign.align.carafe import Carafe
from featalign.align.encoding import PositionEncoding
from featalign.align.fapn import DeformableConv, FaPNFuse, FeatureAlignment, FeatureSelection
from featalign.align.fuses import FUSES, Fuse, fuse_factory
from featalign.align.ifa import ImplicitFunction
from featalign.align.pathways import BottomUp, TopDown
from featalign.align.resample import AddFuse, Deconvolution, Resize, UpsamplingModule
from featalign.align.sfnet import AlignedModule, AlignedModuleV2, FlowFuse, GatedFlowFuse

__all__ = [
    "FUSES",
    "AddFuse",
    "AlignFA",
    "AlignFAFuse",
    "AlignedModule",
    "AlignedModuleV2",
    "BottomUp",
    "Carafe",
    "Deconvolution",
    "DeformableConv",
    "FaPNFuse",
    "FeatureAlignment",
    "FeatureSelection",
    "FlowFuse",
    "Fuse",
    "GatedFlowFuse",
    "ImplicitFunction",
    "PositionEncoding",
    "Resize",
    "TopDown",
    "UpsamplingModule",
    "fuse_factory",
]
