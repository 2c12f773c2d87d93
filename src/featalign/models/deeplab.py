"""DeepLabV3+ (ECCV 2018, section 3.1, Fig. 2), and the same levels aligned by an implicit function (IFA, Table 2).

image ──▶ backbone ──▶ stride 4   C2 ──1x1──▶ 48 ────────────────────────┐
                       stride 16  C4 ──▶ auxiliary head (training)       ├─ concatenate ─ 3x3, 3x3 ─ 1x1 ─▶ K logits
                       stride 32  C5 ──ASPP─▶ width ──bilinear to C2 ────┘  stride 4
                                                                         or ImplicitFunction(48, width) ──▶ K logits
The stride of C5 is 32 in IFA's tables; ``output_stride`` 16 or 8 is DeepLab's own, ``extra_stride`` 2 or 4 makes it 64
or 128 (IFA, Table 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.encoding import Encoding, Frequencies
from featalign.align.ifa import Resample
from featalign.backbones import Pyramid
from featalign.context.aspp import ASPP
from featalign.errors import check_count, check_counts
from featalign.layers import conv_norm_relu
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.choices import named_choices
from featalign.models.implicit import Concatenate, Host, HostAlign, LogitMap
from featalign.spec import Classes


class DeepLabV3Plus(Host):
    """See the figure above; options as in :func:`deeplabv3plus`.

    Args:
        detail: C2 to the fine level.
        context: C5 to the coarse level.
        decoder, join, auxiliary, align_corners: see :class:`~featalign.models.implicit.Host`.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        detail: nn.Module,
        context: nn.Module,
        decoder: ImplicitFunction | LogitMap,
        join: nn.Module | None,
        auxiliary: AuxiliaryHead | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes,
            backbone=backbone,
            strides=(backbone.strides[0], backbone.strides[-1]),
            decoder=decoder,
            join=join,
            auxiliary=auxiliary,
            align_corners=align_corners,
        )
        self.detail = detail
        self.context = context

    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        return [self.detail(maps[0]), self.context(maps[-1])], maps[-2]


@named_choices
def deeplabv3plus(
    classes: Classes,
    *,
    align: HostAlign = "ifa",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    detail: int = 48,
    dilations: Sequence[int] = (6, 12, 18),
    hidden: Sequence[int] = (512, 256, 256),
    blend: Resample = "nearest",
    encoding: Encoding = "learned",
    dims: int = 24,
    frequencies: Frequencies = "published",
    octaves: float = 6.0,
    auxiliary: bool = True,
    align_corners: bool = False,
    ceil_pool: bool = False,
    output_stride: int = 32,
    extra_stride: int = 1,
) -> DeepLabV3Plus:
    """Build :class:`DeepLabV3Plus`.

    Args:
        classes: what it tells apart.
        align: ``ifa``; or ``bilinear``, the network's own up-sampling and its two 3x3 convolutions.
        backbone, pretrained, in_channels, ceil_pool, output_stride, extra_stride: see
            :class:`~featalign.backbones.Pyramid`.
        width: channels of ASPP's answer, of each of its branches, and of the 3x3 convolutions.
        detail: channels of C2 after its 1x1 convolution.
        dilations: of ASPP; DeepLab has (6, 12, 18) at output stride 16 and (12, 24, 36) at 8. ASPP ends in a 3x3
            convolution, as in the published IFA code; DeepLab's own ends in a 1x1.
        hidden, blend, encoding, dims, frequencies, octaves: of ``ifa``, see
            :class:`~featalign.align.ImplicitFunction`.
        auxiliary: whether there is a head at the third stage for training.
        align_corners: how the ``resized`` mode resizes.

    Raises:
        ConfigError: for an unknown name, or strides that the backbone cannot be given.
    """
    check_count(width=width, detail=detail)
    check_counts(dilations=dilations)
    pyramid = Pyramid(
        backbone,
        in_channels=in_channels,
        pretrained=pretrained,
        ceil_pool=ceil_pool,
        output_stride=output_stride,
        extra_stride=extra_stride,
    )
    decoder: ImplicitFunction | LogitMap
    if align == "ifa":
        join = None
        decoder = ImplicitFunction(
            (detail, width),
            len(classes),
            hidden=hidden,
            encoding=encoding,
            dims=dims,
            frequencies=frequencies,
            octaves=octaves,
            resample=blend,
        )
    else:
        refine = (conv_norm_relu(detail + width, width, 3), conv_norm_relu(width, width, 3))
        join = nn.Sequential(Concatenate(), *refine)
        decoder = LogitMap(width, len(classes))
    return DeepLabV3Plus(
        classes,
        backbone=pyramid,
        detail=conv_norm_relu(pyramid.channels[0], detail),
        context=ASPP(pyramid.channels[-1], width, inner=width, dilations=dilations),
        decoder=decoder,
        join=join,
        auxiliary=AuxiliaryHead(pyramid.channels[-2], len(classes)) if auxiliary else None,
        align_corners=align_corners,
    )
