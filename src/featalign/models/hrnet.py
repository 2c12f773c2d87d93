"""HRNet (TPAMI 2020, section 3.3, HRNetV2) and HRNet + OCR (ECCV 2020, section 3.3), with their branches aligned by an
implicit function instead (IFA, Table 2).

image ──▶ HRNet ──▶ stride 4   branch 1 ─┐
                    stride 8   branch 2 ─┼─ concatenate bilinearly ─ 1x1 ─ 1x1 ─▶ K logits, stride 4
                    stride 16  branch 3 ─┤  or ImplicitFunction(branches) ─▶ K logits
                    stride 32  branch 4 ─┘

with OCR:  branches ─ concatenate bilinearly, stride 4 ─┬─ K soft regions (supervised in training)
                                                        └─ pixels ─┬─ object context of every pixel
               own: pixels, object context ─ 1x1 ─ 1x1 ─▶ K logits, stride 4
               IFA: ImplicitFunction(object context, branches) ─▶ K logits
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.encoding import Encoding, Frequencies
from featalign.align.ifa import Resample
from featalign.backbones import Pyramid
from featalign.context.ocr import ObjectContext
from featalign.errors import check_count
from featalign.layers import conv_norm_relu
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.choices import named_choices
from featalign.models.implicit import Concatenate, Host, HostAlign, LogitMap
from featalign.spec import Classes


class HRNet(Host):
    """See the figure above; options as in :func:`hrnet`."""

    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        return list(maps), maps[-2]


class HRNetOCR(Host):
    """See the figure above; options as in :func:`hrnet_ocr`.

    IFA's Table 2 has HRNet-W48-OCR with IFA and does not say where. OCR (Eq. 3) answers from a pixel's representation
    and its object context side by side. Here the implicit function takes the first from the branches themselves, at
    any coordinate, and the second as one more level: its first layer is OCR's merge. Object context itself is found on
    the finest branch's grid, from the branches concatenated bilinearly as in the paper: it is made of means over
    regions of the whole map, where a fraction of a cell counts for little.

    Args:
        context: object context over the concatenated branches.
        decoder: over object context and branches, or the classifier of what ``context`` gives.
        supervised: give the logits of the soft regions as auxiliary ones in training: without their loss the regions
            are not of the classes (OCR, section 3.2).
        backbone, align_corners: see :class:`~featalign.models.implicit.Host`.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        context: ObjectContext,
        decoder: ImplicitFunction | LogitMap,
        supervised: bool = True,
        align_corners: bool = False,
    ) -> None:
        finest = backbone.strides[:1]
        implicit = isinstance(decoder, ImplicitFunction)
        super().__init__(
            classes,
            backbone=backbone,
            strides=finest + backbone.strides if implicit else finest,
            decoder=decoder,
            join=None,
            auxiliary=None,
            align_corners=align_corners,
        )
        self.concatenate = Concatenate()
        self.context = context
        self.regions_learn = supervised
        if implicit:
            context.merge = nn.Sequential()  # leaves object context and pixels as they are, side by side

    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        context, regions = self.context.with_regions(self.concatenate(maps))
        if isinstance(self.decoder, ImplicitFunction):
            return [context[:, : self.decoder.level_channels[0]], *maps], regions  # without the pixels
        return [context], regions

    @property
    def supervised(self) -> bool:
        return self.regions_learn


@named_choices
def hrnet(
    classes: Classes,
    *,
    align: HostAlign = "ifa",
    backbone: str = "hrnet_w48",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int | None = None,
    hidden: Sequence[int] = (512, 256, 256),
    blend: Resample = "nearest",
    encoding: Encoding = "learned",
    dims: int = 24,
    frequencies: Frequencies = "published",
    octaves: float = 6.0,
    auxiliary: bool = True,
    align_corners: bool = False,
) -> HRNet:
    """Build :class:`HRNet`.

    The implicit function is asked for the branches as they are. IFA's supplement (Table 1) has HRNet-W18 under an FPN
    decoder with the same mIoU as Table 2: that network is ``fpn`` with ``backbone="hrnet_w18"``.

    Args:
        classes: what it tells apart.
        align: ``ifa``; or ``bilinear``, the network's own up-sampling and its 1x1 convolution.
        backbone, pretrained, in_channels: see :class:`~featalign.backbones.Pyramid`; ``hrnet_w18``, ``hrnet_w48``, …,
            or any other pyramid.
        width: channels of the joined map, used by ``bilinear`` only; by default those of all branches together.
        hidden, blend, encoding, dims, frequencies, octaves: of ``ifa``, see
            :class:`~featalign.align.ImplicitFunction`.
        auxiliary: whether there is a head at the third branch for training; the paper has none.
        align_corners: how the ``resized`` mode resizes.
    """
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained)
    branches = sum(pyramid.channels)
    width = branches if width is None else width
    check_count(width=width)
    join: nn.Module | None = None
    decoder: ImplicitFunction | LogitMap
    if align == "ifa":
        decoder = ImplicitFunction(
            pyramid.channels,
            len(classes),
            hidden=hidden,
            encoding=encoding,
            dims=dims,
            frequencies=frequencies,
            octaves=octaves,
            resample=blend,
        )
    else:
        join = nn.Sequential(Concatenate(), conv_norm_relu(branches, width, bias=True))
        decoder = LogitMap(width, len(classes))
    return HRNet(
        classes,
        backbone=pyramid,
        strides=pyramid.strides,
        decoder=decoder,
        join=join,
        auxiliary=AuxiliaryHead(pyramid.channels[-2], len(classes)) if auxiliary else None,
        align_corners=align_corners,
    )


@named_choices
def hrnet_ocr(
    classes: Classes,
    *,
    align: HostAlign = "ifa",
    backbone: str = "hrnet_w48",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 512,
    keys: int = 256,
    hidden: Sequence[int] = (512, 256, 256),
    blend: Resample = "nearest",
    encoding: Encoding = "learned",
    dims: int = 24,
    frequencies: Frequencies = "published",
    octaves: float = 6.0,
    auxiliary: bool = True,
    align_corners: bool = False,
) -> HRNetOCR:
    """Build :class:`HRNetOCR`.

    Args:
        classes: what it tells apart; one soft region per class.
        align: ``ifa``; or ``bilinear``, the network's own up-sampling.
        backbone, pretrained, in_channels: see :class:`~featalign.backbones.Pyramid`; ``hrnet_w18``, ``hrnet_w48``, …,
            or any other pyramid.
        width: channels of pixels, regions and their context.
        keys: channels in which pixels and regions are compared.
        hidden, blend, encoding, dims, frequencies, octaves: of ``ifa``, see
            :class:`~featalign.align.ImplicitFunction`.
        auxiliary: whether training has the loss on the soft regions.
        align_corners: how the ``resized`` mode resizes.
    """
    check_count(width=width, keys=keys)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained)
    branches = sum(pyramid.channels)
    decoder: ImplicitFunction | LogitMap
    if align == "ifa":
        decoder = ImplicitFunction(
            (width, *pyramid.channels),
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
    return HRNetOCR(
        classes,
        backbone=pyramid,
        context=ObjectContext(branches, width, classes=len(classes), inner=width, keys=keys),
        decoder=decoder,
        supervised=auxiliary,
        align_corners=align_corners,
    )
