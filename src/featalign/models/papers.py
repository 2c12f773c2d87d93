"""The papers behind the networks and their parts, for citation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IFA = "Hu et al., Learning Implicit Feature Alignment Function for Semantic Segmentation, ECCV 2022, arXiv:2206.08655"
_ALIGNSEG = "Huang et al., AlignSeg: Feature-Aligned Segmentation Networks, TPAMI 2021, arXiv:2003.00872"
_FAPN = "Huang et al., FaPN: Feature-aligned Pyramid Network for Dense Image Prediction, ICCV 2021, arXiv:2108.07058"
_SFNET = "Li et al., Semantic Flow for Fast and Accurate Scene Parsing, ECCV 2020, arXiv:2002.10120"
_CARAFE = "Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, ICCV 2019, arXiv:1905.02188"
_FPN = "Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, arXiv:1612.03144"
_SEMANTIC_FPN = "Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, arXiv:1901.02446"
_PSP = "Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, arXiv:1612.01105"
_DEEPLAB = (
    "Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, "
    "ECCV 2018, arXiv:1802.02611"
)
_HRNET = (
    "Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, TPAMI 2021, arXiv:1908.07919"
)
_OCR = "Yuan et al., Object-Contextual Representations for Semantic Segmentation, ECCV 2020, arXiv:1909.11065"

_NETWORKS = {
    "alignseg": (_ALIGNSEG,),
    "deeplabv3plus": (_DEEPLAB,),
    "fapn": (_FAPN,),
    "fapn_realtime": (_FAPN,),
    "fpn": (_FPN,),
    "hrnet": (_HRNET,),
    "hrnet_ocr": (_HRNET, _OCR),
    "pspnet": (_PSP,),
    "semantic_fpn": (_SEMANTIC_FPN,),
    "sfnet": (_SFNET,),
}
_ALIGNERS = {"ifa": _IFA, "alignfa": _ALIGNSEG, "fapn": _FAPN, "sfnet": _SFNET, "carafe": _CARAFE}


def papers_of(config: Mapping[str, Any]) -> list[str]:
    """The papers of the network and the aligner that ``config`` (of ``create_model``) names, one line each."""
    family = str(config.get("align")).split("_")[0]  # alignfa_coarse, fapn_no_fsm, … are of one paper
    found = [*_NETWORKS.get(config.get("name", ""), ()), _ALIGNERS.get(family)]
    return list(dict.fromkeys(paper for paper in found if paper))
