"""Reading every file of a folder before training does, so that what is wrong is known at once and in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featalign.data.dataset import OnError
from featalign.data.examining import Examined, Examiner
from featalign.data.files import File
from featalign.data.findings import Finding, summary
from featalign.data.layouts import Labels
from featalign.data.opening import AUTO, DataSource, open_source
from featalign.data.pairs import Split
from featalign.data.progress import Progress, silent, threaded
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.data.report import CheckReport, SplitStatistics
from featalign.errors import DataError
from featalign.spec import Depth

_SHOWN = 12
"""Absent classes that a note names."""


def check_data(
    root: Path | str,
    *,
    layout: str = AUTO,
    options: Mapping[str, Any] | None = None,
    splits: Sequence[str] | None = None,
    channels: int = 3,
    depth: Depth = 8,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_error: OnError = "stop",
    progress: Progress = silent,
) -> CheckReport:
    """Decode every image and mask of ``splits`` (default: all) and report what is wrong or worth knowing.

    Errors: a missing partner, a damaged or unsuitable file, sizes that differ, values that are no label, masks whose
    foreground is ``ignore_index``, labels that look like another convention's. Notes: EXIF rotation, palette masks,
    classes that never occur or are ignored, files not read, no split ``train`` among all. With ``on_error="skip"``,
    faults that are one file's own are notes.
    The other arguments are those of :func:`featalign.data.open_dataset`.

    Raises:
        DataError: if ``root``, its classes or a split does not exist; everything less is a finding.
        ConfigError: if the layout or an option is unknown.
    """
    source = open_source(root, layout=layout, options=options)
    labels = source.labels
    scanned = [source.scan(name) for name in (source.splits if splits is None else splits)]
    examine = Examiner(labels, channels, depth, max_pixels)
    statistics: list[SplitStatistics] = []
    findings = _about_splits(source) if splits is None else []
    findings += _about_classes(labels)
    for split in scanned:
        examined = list(
            progress(threaded(examine, split.pairs), total=len(split.pairs), description=f"checking {split.name}")
        )
        stored, found = _gather(split, examined, on_error)
        statistics.append(SplitStatistics(split.name, len(split.pairs), labels.map.count(stored), labels.classes))
        findings += found + _about_labels(split.name, stored, source, labels)
    return CheckReport(
        root=Path(root),
        classes=labels.classes,
        splits=tuple(statistics),
        findings=tuple(findings),
        layout=source.layout.name,
        settings=source.settings,
        labels=labels.map.words(),
    )


def check_folder(
    root: Path | str,
    *,
    splits: Sequence[str] | None = None,
    channels: int = 3,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress = silent,
) -> CheckReport:
    """:func:`check_data` with the layout ``folder``."""
    return check_data(root, layout="folder", splits=splits, channels=channels, max_pixels=max_pixels, progress=progress)


def require_trainable(
    root: Path | str,
    splits: Sequence[str],
    *,
    layout: str = AUTO,
    options: Mapping[str, Any] | None = None,
    channels: int = 3,
    depth: Depth = 8,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_error: OnError = "stop",
    progress: Progress = silent,
) -> CheckReport:
    """:func:`check_data` for a trainer: raises DataError with the first errors if there is any."""
    report = check_data(
        root,
        layout=layout,
        options=options,
        splits=splits,
        channels=channels,
        depth=depth,
        max_pixels=max_pixels,
        on_error=on_error,
        progress=progress,
    )
    if not report.ok:
        raise DataError(f"{summary(report.errors)}; `featalign check-data {root}` lists everything")
    return report


def _gather(split: Split, examined: list[Examined], on_error: OnError) -> tuple[dict[int, int], list[Finding]]:
    """Pixels per stored value over the split, and what its files show."""
    counts: Counter[int] = Counter()
    findings = [replace(f, severity="note") if on_error == "skip" else f for f in split.findings]
    for one in examined:
        counts.update(one.counts)
        findings += [_fault(split.name, *fault, on_error) for fault in one.faults]
        if one.orientations != (1, 1):
            findings.append(Finding("note", split.name, one.pair.image, _turned(*one.orientations)))
    if split.name == "test" and split.held_out:
        return {}, [Finding("note", split.name, None, "no image has a mask: a held-out test, which can be predicted")]
    if all(one.faults for one in examined) and all(finding.severity == "note" for finding in findings):
        findings.append(Finding("error", split.name, None, "has no sample that can be used"))
    palettes = [one.pair.mask for one in examined if one.palette]
    if palettes:
        message = f"{len(palettes)} palette masks (first: {palettes[0].name}): their indices are read as class ids"
        findings.append(Finding("note", split.name, None, message))
    return dict(counts), findings


def _fault(split: str, file: File, message: str, own: bool, on_error: OnError) -> Finding:
    if own and on_error == "skip":
        return Finding("note", split, file, f"{message}; it will be skipped")
    return Finding("error", split, file, message)


def _turned(image: int, mask: int) -> str:
    if image != 1 and mask == 1:
        return f"turned upright (EXIF orientation {image}); its mask has no EXIF: was it drawn on the upright image?"
    return f"image and mask are turned upright, each by its own EXIF orientation ({image} and {mask})"


def _about_splits(source: DataSource) -> list[Finding]:
    if "train" in source.splits:
        return []
    return [Finding("note", "train", None, "no such split; a recipe names the one to learn from as data.train_split")]


def _about_classes(labels: Labels) -> list[Finding]:
    ignored, names = labels.classes.ignore_index, labels.classes.names
    if not 0 <= ignored < len(names):
        return []
    message = f"class {ignored} {names[ignored]} is the ignore index: it is neither learnt nor scored"
    return [Finding("note", "all splits", None, f'{message}, unless classes.json has another "ignore_index"')]


def _about_labels(split: str, stored: dict[int, int], source: DataSource, labels: Labels) -> list[Finding]:
    """What only the labels of a whole split can show."""
    classes, counts = labels.classes, labels.map.count(stored)
    absent = [i for i in range(len(classes)) if i not in counts and i != classes.ignore_index]
    if set(counts) == {classes.ignore_index} and split == "test":
        return [Finding("note", split, None, "every pixel is to be ignored: these are placeholders of a held-out test")]
    message = _suspicious(stored, counts, source, labels) if stored else None
    if message:
        return [Finding("error", split, None, message)]
    if not stored or not absent:
        return []
    from_one = 0 in absent and source.settings.get("shift") == 0 and not labels.map.unknown(stored)
    hint = "; if the ids count from 1, subtract 1 from each (--layout-option shift=-1)" if from_one else ""
    names = ", ".join(f"{i} {classes.names[i]}" for i in absent[:_SHOWN])
    names += f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    return [Finding("note", split, None, f"classes that never occur: {names}{hint}")]


def _suspicious(stored: dict[int, int], counts: dict[int, int], source: DataSource, labels: Labels) -> str | None:
    """Why these values, each of them known, cannot be what they are taken for."""
    ignore = labels.classes.ignore_index
    if len(labels.classes) == 2 and set(stored) == {0, 255} and 255 in labels.map.ignored:
        return (
            "masks of 0 and 255, which is ignored: write the foreground as 1, or read it so with "
            '--layout-option remap="{255: 1}"'
        )
    if set(counts) == {ignore}:
        return f"every pixel is {ignore}, to be ignored; nothing to learn"
    return source.layout.suspect(stored, source.settings)
