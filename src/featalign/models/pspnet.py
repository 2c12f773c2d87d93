"""PSPNet (CVPR 2017, section 3.2, Fig. 3), and its pooled maps aligned by an implicit function (IFA, Table 2).

image ──▶ dilated backbone ──▶ stride 8  C4 ──▶ auxiliary head (training)
                               stride 8  C5 ─┬────────────────────────────┬─ concatenate bilinearly ─ 3x3 ─ 1x1 ─▶ K
                                             └─ mean over each cell of ───┤  logits, stride 8
                                                6x6, 3x3, 2x2, 1x1 ─ 1x1  └─ or ImplicitFunction ─▶ K logits
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.encoding import Encoding, Frequencies
from featalign.align.ifa import Resample
from featalign.backbones import Pyramid
from featalign.context.psp import PyramidPooling
from featalign.errors import check_count, check_counts
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.choices import named_choices
from featalign.models.implicit import Host, HostAlign, LogitMap
from featalign.spec import Classes


class PSPNet(Host):
    """See the figure above; options as in :func:`pspnet`.

    Each pooled map covers the whole image, whatever the image's size: a pooled map has no stride, and ``strides`` names
    that of C5 alone.

    Args:
        pooling: C5 to the merged map; for an implicit function only its pooled maps are asked.
        decoder, auxiliary, align_corners: see :class:`~featalign.models.implicit.Host`.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        pooling: PyramidPooling,
        decoder: ImplicitFunction | LogitMap,
        auxiliary: AuxiliaryHead | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes,
            backbone=backbone,
            strides=backbone.strides[-1:],
            decoder=decoder,
            join=None,
            auxiliary=auxiliary,
            align_corners=align_corners,
        )
        self.pooling = pooling
        if isinstance(decoder, ImplicitFunction):
            pooling.merge = nn.Sequential()  # its first layer is the merge

    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        deep, coarse = maps
        if isinstance(self.decoder, LogitMap):
            return [self.pooling(coarse)], deep
        return [coarse, *reversed(self.pooling.pooled(coarse))], deep


@named_choices
def pspnet(
    classes: Classes,
    *,
    align: HostAlign = "ifa",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    hidden: Sequence[int] = (512, 256, 256),
    blend: Resample = "nearest",
    encoding: Encoding = "learned",
    dims: int = 24,
    frequencies: Frequencies = "published",
    octaves: float = 6.0,
    auxiliary: bool = True,
    align_corners: bool = False,
    ceil_pool: bool = False,
    output_stride: int = 8,
) -> PSPNet:
    """Build :class:`PSPNet`.

    Args:
        classes: what it tells apart.
        align: ``ifa``; or ``bilinear``, the network's own up-sampling and its 3x3 convolution.
        backbone, pretrained, in_channels, ceil_pool, output_stride: see :class:`~featalign.backbones.Pyramid`. PSPNet
            dilates its backbone to output stride 8; one that cannot be dilated needs 32.
        width: channels of the merged map, used by ``bilinear`` only.
        bins: cells per side of each pooled map.
        hidden, blend, encoding, dims, frequencies, octaves: of ``ifa``, see
            :class:`~featalign.align.ImplicitFunction`.
        auxiliary: whether there is a head at the third stage for training.
        align_corners: how the ``resized`` mode resizes.

    Raises:
        ConfigError: for an unknown name, or an output stride that the backbone cannot be given.
    """
    check_count(width=width)
    check_counts(bins=bins)
    pyramid = Pyramid(
        backbone,
        in_channels=in_channels,
        pretrained=pretrained,
        strides=(16, 32),
        ceil_pool=ceil_pool,
        output_stride=output_stride,
    )
    coarse = pyramid.channels[-1]
    inner = max(1, coarse // len(bins))
    decoder: ImplicitFunction | LogitMap
    if align == "ifa":
        decoder = ImplicitFunction(
            (coarse, *(inner for _ in bins)),
            len(classes),
            hidden=hidden,
            encoding=encoding,
            dims=dims,
            frequencies=frequencies,
            octaves=octaves,
            resample=blend,
        )
    else:
        decoder = LogitMap(width, len(classes))
    return PSPNet(
        classes,
        backbone=pyramid,
        pooling=PyramidPooling(coarse, width, bins=bins, inner=inner),
        decoder=decoder,
        auxiliary=AuxiliaryHead(pyramid.channels[-2], len(classes)) if auxiliary else None,
        align_corners=align_corners,
    )
