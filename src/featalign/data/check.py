"""Reading every file of a folder before training does, so that what is wrong is known at once and in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from featalign.data.findings import Finding, summary
from featalign.data.folder import check_sizes
from featalign.data.images import image_array, mask_array, read_image
from featalign.data.labels import check_counts, count_labels
from featalign.data.layout import Pair, Split, list_splits, read_classes, scan_split
from featalign.data.reading import DEFAULT_MAX_PIXELS, opened
from featalign.data.report import CheckReport, SplitStatistics
from featalign.errors import DataError
from featalign.spec import Classes

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """Hands on ``items`` one by one while it shows how far it is."""

    def __call__(self, items: Iterable[T], *, total: int, description: str) -> Iterable[T]: ...


def silent(items: Iterable[T], *, total: int, description: str) -> Iterable[T]:
    """Shows nothing."""
    return items


def check_folder(
    root: Path | str,
    *,
    splits: Sequence[str] | None = None,
    channels: int = 3,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress = silent,
) -> CheckReport:
    """Decode every image and mask of ``splits`` (default: all) and report what is wrong or worth knowing.

    Errors: a missing partner, a damaged or unsuitable file, sizes that differ, values outside the classes, masks whose
    foreground is ``ignore_index``. Notes: EXIF rotation, palette masks, classes that never occur, files not read.

    Raises:
        DataError: if ``classes.json``, the folder or a split does not exist; everything less is a finding.
    """
    root = Path(root)
    classes = read_classes(root)
    scanned = [scan_split(root, name) for name in (list_splits(root) if splits is None else splits)]
    examine = _Examiner(classes, channels, max_pixels)
    statistics: list[SplitStatistics] = []
    findings: list[Finding] = []
    for split in scanned:
        examined = progress(
            _threaded(examine, split.pairs), total=len(split.pairs), description=f"checking {split.name}"
        )
        counts, found = _gather(split, list(examined), classes)
        statistics.append(SplitStatistics(split.name, len(split.pairs), counts, classes))
        findings += found
    return CheckReport(root, classes, tuple(statistics), tuple(findings))


def require_trainable(
    root: Path | str,
    splits: Sequence[str],
    *,
    channels: int = 3,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress = silent,
) -> CheckReport:
    """:func:`check_folder` for a trainer: raises DataError with the first errors if there is any."""
    report = check_folder(root, splits=splits, channels=channels, max_pixels=max_pixels, progress=progress)
    if not report.ok:
        raise DataError(f"{summary(report.errors)}; `featalign check-data {root}` lists everything")
    return report


@dataclass
class _Examined:
    """What was learnt from one pair."""

    pair: Pair
    errors: list[tuple[Path, str]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    palette: bool = False
    orientations: tuple[int, int] = (1, 1)

    def blame(self, file: Path, error: DataError) -> None:
        self.errors.append((file, str(error).removeprefix(f"{file}: ")))


@dataclass(frozen=True)
class _Examiner:
    """Reads a pair as training would, but goes on after the first error."""

    classes: Classes
    channels: int
    max_pixels: int

    def __call__(self, pair: Pair) -> _Examined:
        examined = _Examined(pair)
        image, image_turn = self._image(examined)
        mask, mask_turn = self._mask(examined)
        examined.orientations = (image_turn, mask_turn)
        try:
            if mask is not None:
                examined.counts = count_labels(mask)
                check_counts(examined.counts, self.classes)
            if image is not None and mask is not None:
                check_sizes(pair, image, mask)
        except DataError as error:
            examined.blame(pair.mask, error)
        return examined

    def _image(self, examined: _Examined) -> tuple[NDArray[np.uint8] | None, int]:
        file = examined.pair.image
        try:
            if file.suffix.lower() == ".npy":
                return read_image(file, channels=self.channels, max_pixels=self.max_pixels), 1
            with opened(file, max_pixels=self.max_pixels) as image:
                return image_array(image, channels=self.channels)
        except DataError as error:
            examined.blame(file, error)
            return None, 1

    def _mask(self, examined: _Examined) -> tuple[NDArray[np.integer] | None, int]:
        file = examined.pair.mask
        try:
            with opened(file, max_pixels=self.max_pixels) as image:
                examined.palette = image.mode == "P"
                return mask_array(image)
        except DataError as error:
            examined.blame(file, error)
            return None, 1


def _gather(split: Split, examined: list[_Examined], classes: Classes) -> tuple[dict[int, int], list[Finding]]:
    """Pixels per value over the split, and all its findings."""
    counts: Counter[int] = Counter()
    findings = list(split.findings)
    for one in examined:
        counts.update(one.counts)
        findings += [Finding("error", split.name, file, message) for file, message in one.errors]
        if one.orientations != (1, 1):
            findings.append(Finding("note", split.name, one.pair.image, _turned(*one.orientations)))
    palettes = [one.pair.mask for one in examined if one.palette]
    if palettes:
        message = f"{len(palettes)} palette masks (first: {palettes[0].name}): their indices are the class ids"
        findings.append(Finding("note", split.name, None, message))
    return dict(counts), findings + _about_labels(split.name, counts, classes)


def _turned(image: int, mask: int) -> str:
    if image != 1 and mask == 1:
        return f"turned upright (EXIF orientation {image}); its mask has no EXIF: was it drawn on the upright image?"
    return f"image and mask are turned upright, each by its own EXIF orientation ({image} and {mask})"


def _about_labels(split: str, counts: Counter[int], classes: Classes) -> list[Finding]:
    """What only the labels of a whole split can show."""
    absent = [i for i in range(len(classes)) if i not in counts]
    if not counts or not absent:
        return []
    if set(counts) == {classes.ignore_index}:
        return [
            Finding("error", split, None, f"every pixel is {classes.ignore_index}, to be ignored; nothing to learn")
        ]
    if len(classes) == 2 and set(counts) == {0, classes.ignore_index}:
        message = f"masks of 0 and {classes.ignore_index}, which is ignored: write the foreground as 1"
        return [Finding("error", split, None, message)]
    hint = "; if the ids count from 1, subtract 1 from each" if 0 in absent else ""
    names = ", ".join(f"{i} {classes.names[i]}" for i in absent)
    return [Finding("note", split, None, f"classes that never occur: {names}{hint}")]


def _threaded(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` in threads, since Pillow decodes without holding Python's lock. What waits is dropped on an interrupt."""
    pool = ThreadPoolExecutor()
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
