"""How each benchmark lies on disk, one file per benchmark, with its classes in ``tables``."""

from __future__ import annotations

from featalign.data.layouts.ade20k import ADE20K
from featalign.data.layouts.base import Labels, Layout, MaskReader, Option, Settings
from featalign.data.layouts.camvid import CAMVID
from featalign.data.layouts.cityscapes import CITYSCAPES
from featalign.data.layouts.coco_stuff import COCO_STUFF_10K, COCO_STUFF_164K
from featalign.data.layouts.folder import FOLDER
from featalign.data.layouts.pascal_context import PASCAL_CONTEXT
from featalign.data.layouts.patterns import PATTERNS
from featalign.data.layouts.table import ClassTable, class_table
from featalign.data.layouts.voc import VOC

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        FOLDER,
        CITYSCAPES,
        ADE20K,
        PASCAL_CONTEXT,
        COCO_STUFF_10K,
        COCO_STUFF_164K,
        VOC,
        CAMVID,
        PATTERNS,
    )
}
"""By name, in the order in which a folder is compared with them."""

__all__ = ["LAYOUTS", "ClassTable", "Labels", "Layout", "MaskReader", "Option", "Settings", "class_table"]
