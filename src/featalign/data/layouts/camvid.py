"""CamVid with 11 classes: SegNet's folders, or the first release's frames and colour masks with SegNet's split.

SegNet: ``train`` and ``trainannot`` (so ``val`` and ``test``), 0 … 10 and 11 = void. First release: frames in
``701_StillsRaw_full``, masks ``LabeledApproved_full/NAME_L.png`` in the 32 colours of ``label_colors.txt``, grouped as
SegNet did; other groupings are in use, and their scores cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from featalign.data.colors import load_colors
from featalign.data.labels import LabelMap
from featalign.data.layouts.base import Labels, Layout, Settings
from featalign.data.layouts.table import class_table
from featalign.data.pairs import IMAGE_SUFFIXES, MASK_SUFFIXES, Split, by_stem, endings, pair_files, pair_listed
from featalign.data.sources import Tree
from featalign.spec import Color

_SPLITS = ("train", "val", "test")
_FRAMES, _MASKS = "701_StillsRaw_full", "LabeledApproved_full"


def _is_segnet(tree: Tree) -> bool:
    return any(tree.has(split) and tree.has(f"{split}annot") for split in _SPLITS)


def _is_first_release(tree: Tree) -> bool:
    return tree.has(_FRAMES) and tree.has(_MASKS)


def _splits(tree: Tree, settings: Settings) -> list[str]:
    return [s for s in _SPLITS if _is_first_release(tree) or (tree.has(s) and tree.has(f"{s}annot"))]


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    if _is_first_release(tree):
        frames, masks = endings(tree.files(_FRAMES), ".png"), endings(tree.files(_MASKS), "_L.png")
        return pair_listed(split, _official(split), frames, masks)
    images, findings = by_stem(tree, split, split, IMAGE_SUFFIXES)
    annotated, about_masks = by_stem(tree, f"{split}annot", split, MASK_SUFFIXES)
    return pair_files(split, images, annotated, findings + about_masks)


def _official(split: str) -> list[str]:
    """The names of SegNet's split."""
    sequences = class_table("camvid").content["splits"][split]
    return sorted(f"{sequence}_{frame}" for sequence, frames in sequences.items() for frame in frames.split())


def _labels(tree: Tree, settings: Settings) -> Labels:
    table = class_table("camvid")
    if not _is_first_release(tree):
        return Labels(LabelMap(table.classes, table.ids, table.ignored, "SegNet's values", _cure))
    colors, ids = _colors()
    ignored = tuple((r, g, b) for r, g, b in table.content["ignored_colors"].values())
    convention = "places in label_colors.txt"
    return Labels(
        LabelMap(table.classes, ids, frozenset({255}), convention, _cure),
        partial(load_colors, colors=colors, ignored=ignored),
    )


def _colors() -> tuple[tuple[Color, ...], dict[int, int]]:
    """The colours that make up a class, and the class of each place among them."""
    groups = [(row["id"], (r, g, b)) for row in class_table("camvid").rows for r, g, b in row["colors"].values()]
    return tuple(color for _, color in groups), {place: i for place, (i, _) in enumerate(groups)}


def _cure(counts: Mapping[int, int]) -> str:
    if 255 in counts:
        return "255 for void is the folder layout's: use SPLIT/images, SPLIT/masks and classes.json"
    return "SegNet's masks hold 0 … 10 and 11 = void; masks of all 32 classes belong into a folder with classes.json"


CAMVID = Layout(
    name="camvid",
    title="CamVid",
    expects="{train,val,test}/*.png and {train,val,test}annot/*.png; or 701_StillsRaw_full/*.png and "
    "LabeledApproved_full/*_L.png",
    recognize=lambda tree: _is_segnet(tree) or _is_first_release(tree),
    splits=_splits,
    scan=_scan,
    labels=_labels,
    bases=("CamVid",),
)
