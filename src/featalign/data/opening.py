"""From a folder or a zip file to a dataset: which layout it has, which splits, and what its masks mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featalign.data.dataset import OnError, SegmentationDataset
from featalign.data.findings import summary
from featalign.data.layouts import LAYOUTS, Labels, Layout, Settings
from featalign.data.pairs import Split, listed
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.data.sample import Sample
from featalign.data.sources import Tree, sources_of
from featalign.errors import ConfigError, DataError, did_you_mean
from featalign.spec import Depth

AUTO = "auto"
_OF_ONES_OWN = ("folder", "patterns")


def list_layouts() -> list[str]:
    """Names of the layouts, ``folder`` first."""
    return list(LAYOUTS)


def detect_layout(root: Path | str) -> str:
    """The name of the layout that ``root``, a folder or a zip file, has.

    Raises:
        DataError: if it has none; the message shows what was found and what each layout expects.
    """
    return _locate(Path(root), AUTO)[0].name


def list_splits(root: Path | str, *, layout: str = AUTO, options: Mapping[str, Any] | None = None) -> list[str]:
    """Names of the splits in ``root`` that have masks; ``train``, ``val`` and ``test`` are each benchmark's own."""
    return open_source(root, layout=layout, options=options).splits


def open_dataset(
    root: Path | str,
    split: str,
    *,
    layout: str = AUTO,
    options: Mapping[str, Any] | None = None,
    channels: int = 3,
    depth: Depth = 8,
    transform: Callable[[Sample], Sample] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    cache: bool = False,
    on_error: OnError = "stop",
) -> SegmentationDataset:
    """One split of a data set in any known layout; reads no image yet.

    Args:
        root: a directory, a zip file, or a directory of zip files that count as unpacked where they lie.
        split: one of :func:`list_splits`, or several joined by ``+``, such as ``train+val``.
        layout: one of :func:`list_layouts`; ``auto`` looks.
        options: of the layout, by name.
        channels: of the images, as the model reads them.
        depth: bits per channel; 16 gives float32 images of 0 … 65535, for ``Normalization(scale=65535)``.
        transform: from a sample to a sample.
        max_pixels: largest image that is decoded.
        cache: keep decoded samples in memory, as many as fit.
        on_error: what loaders do about samples that cannot be read: ``stop``, or ``skip`` them and count.

    Raises:
        DataError: if ``root`` has not the layout or no such split, or if images lack masks or masks images (with
            ``skip`` these are left out and counted).
        ConfigError: if the layout or an option is unknown.
    """
    source = open_source(root, layout=layout, options=options)
    labels = source.labels
    scanned = source.scan(split)
    if on_error == "stop":
        refuse_incomplete(source, scanned)
    dataset = SegmentationDataset(
        scanned.pairs,
        labels,
        channels=channels,
        depth=depth,
        transform=transform,
        max_pixels=max_pixels,
        cache=cache,
        on_error=on_error,
    )
    dataset.skipped |= {str(finding.file or finding.split): str(finding) for finding in scanned.errors}
    return dataset


@dataclass(frozen=True)
class DataSource:
    """A folder or zip file whose layout is known."""

    root: Path
    tree: Tree
    layout: Layout
    settings: Settings

    @property
    def splits(self) -> list[str]:
        """Names of the splits that are there."""
        return self.layout.splits(self.tree, self.settings)

    @property
    def labels(self) -> Labels:
        """How the masks are read."""
        return self.layout.labels(self.tree, self.settings)

    def scan(self, split: str) -> Split:
        """The pairs of a split, or of several joined by ``+``. Raises DataError if one does not exist.

        Of several, a name that stands in more than one has its split before it: ``train/0001``.
        """
        parts = split.split("+")
        known = self.splits
        for part in parts:
            if part not in known:
                raise DataError(f'{self.root}: has no split "{part}"; found: {listed(known)}')
        scanned = [self.layout.scan(self.tree, part, self.settings) for part in parts]
        if len(scanned) == 1:
            return scanned[0]
        names = Counter(pair.name for one in scanned for pair in one.pairs)
        return Split(
            split,
            tuple(
                replace(pair, name=f"{one.name}/{pair.name}") if names[pair.name] > 1 else pair
                for one in scanned
                for pair in one.pairs
            ),
            tuple(replace(finding, split=split) for one in scanned for finding in one.findings),
        )


def refuse_incomplete(source: DataSource, scanned: Split) -> None:
    """Raises DataError if files of the split lack their partners."""
    if scanned.errors:
        raise DataError(
            f"{summary(scanned.errors)}; expected {source.layout.expects}; "
            f"`featalign check-data {source.root}` lists everything"
        )


def open_source(root: Path | str, *, layout: str = AUTO, options: Mapping[str, Any] | None = None) -> DataSource:
    """Find out, or confirm, the layout of ``root``. Raises as :func:`open_dataset` does."""
    found, tree = _locate(Path(root), layout)
    return DataSource(Path(root), tree, found, found.settings(options))


def _locate(root: Path, layout: str) -> tuple[Layout, Tree]:
    """The layout, and the folder of ``root`` that it starts at."""
    if layout != AUTO and layout not in LAYOUTS:
        raise ConfigError(f'unknown layout "{layout}"; {did_you_mean(layout, [AUTO, *LAYOUTS])}')
    asked = list(LAYOUTS.values()) if layout == AUTO else [LAYOUTS[layout]]
    trees = list(sources_of(root))
    for tree in trees:
        for known in asked:
            for start in _starts(tree, known):
                if known.recognize(start):
                    return known, start
    if layout in _OF_ONES_OWN:  # their own messages say what is missing
        return LAYOUTS[layout], trees[0]
    raise DataError(_unrecognized(root, trees[-1], asked))


def _starts(tree: Tree, layout: Layout) -> Iterator[Tree]:
    """The root, the folders that the layout's archives unpack into, and the only folder in the root."""
    yield tree
    only = tree.folders()
    for base in layout.bases:
        if tree.has(base):
            yield tree.within(base)
    if len(only) == 1 and not tree.files():
        yield tree.within(only[0])


def _unrecognized(root: Path, tree: Tree, asked: list[Layout]) -> str:
    expected = "; ".join(f"{layout.name}: {layout.expects}" for layout in asked)
    which = f"has not the layout {asked[0].name}" if len(asked) == 1 else "has none of the known layouts"
    return f"{root}: {which}; found {_outline(tree)}; expected {expected}"


def _outline(tree: Tree) -> str:
    """Two levels of folders, with how many files of each kind lie in them."""
    parts = [*_folder_words(tree, ""), *_file_words(tree, "")]
    return ", ".join(parts) or "nothing"


def _folder_words(tree: Tree, folder: str, *, shown: int = 6) -> list[str]:
    words = []
    for name in tree.folders(folder)[:shown]:
        path = f"{folder}/{name}" if folder else name
        inside = [*(_folder_words(tree, path, shown=3) if not folder else []), *_file_words(tree, path)]
        words.append(f"{name}/" + (f" ({', '.join(inside)})" if inside else ""))
    return words + (["…"] if len(tree.folders(folder)) > shown else [])


def _file_words(tree: Tree, folder: str) -> list[str]:
    kinds = Counter(file.suffix.lower() or "no suffix" for file in tree.files(folder))
    return [f"{count} {kind}" for kind, count in kinds.most_common(3)]
