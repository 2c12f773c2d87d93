"""A folder of one's own images and masks, by its short name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from featalign.data.dataset import SegmentationDataset
from featalign.data.opening import open_source, refuse_incomplete
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.data.sample import Sample


class FolderDataset(SegmentationDataset):
    """:func:`~featalign.data.open_dataset` with the layout ``folder``.

    That is ``classes.json``, ``{split}/images`` and ``{split}/masks``.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        channels: int = 3,
        transform: Callable[[Sample], Sample] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        cache: bool = False,
    ) -> None:
        source = open_source(root, layout="folder")
        labels, scanned = source.labels, source.scan(split)
        refuse_incomplete(source, scanned)
        super().__init__(
            scanned.pairs,
            labels,
            channels=channels,
            transform=transform,
            max_pixels=max_pixels,
            cache=cache,
        )
