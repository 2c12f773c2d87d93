"""Images and their masks, paired by name without opening a file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featalign.data.files import File
from featalign.data.findings import Finding
from featalign.data.sources import Tree

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})
ABSENT = "does not exist"


@dataclass(frozen=True)
class Pair:
    """An image and its mask; ``name`` is what they share. ``instances``: the file that tells objects apart, if any."""

    name: str
    image: File
    mask: File
    instances: File | None = None


@dataclass(frozen=True)
class Split:
    """The pairs of one split by name, and what is wrong with the rest of its files.

    ``held_out``: nothing is there that is or might be a mask.
    """

    name: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...] = ()
    held_out: bool = False

    @property
    def errors(self) -> list[Finding]:
        """The findings that forbid training."""
        return [finding for finding in self.findings if finding.severity == "error"]


def pair_files(
    split: str, images: Mapping[str, File], masks: Mapping[str, File], findings: Iterable[Finding] = ()
) -> Split:
    """Pair by key; what has no partner is an error each."""
    found = list(findings)
    held_out = bool(images) and not masks and all(one.severity == "note" or one.message == ABSENT for one in found)
    found += [Finding("error", split, images[n], "image without a mask") for n in sorted(images.keys() - masks.keys())]
    found += [Finding("error", split, masks[n], "mask without an image") for n in sorted(masks.keys() - images.keys())]
    pairs = tuple(Pair(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys()))
    return Split(split, pairs, tuple(found), held_out)


def pair_listed(split: str, names: Iterable[str], images: Mapping[str, File], masks: Mapping[str, File]) -> Split:
    """The pairs of a list of names; a name that has no image or no mask is an error each."""
    pairs: list[Pair] = []
    findings: list[Finding] = []
    files = {name: (images.get(composed(name)), masks.get(composed(name))) for name in names}
    for name, found in files.items():
        if found[0] is not None and found[1] is not None:
            pairs.append(Pair(name, found[0], found[1]))
            continue
        missing = " and no ".join(part for part, file in zip(("image", "mask"), found, strict=True) if file is None)
        findings.append(Finding("error", split, found[0] or found[1], f"{name} is listed but has no {missing}"))
    held_out = bool(files) and all(one is None for _, one in files.values())
    return Split(split, tuple(pairs), tuple(findings), held_out)


def composed(name: str) -> str:
    """The name as one that is paired with others: an accent is part of its letter, which macOS writes apart.

    >>> composed("Cafe\u0301") == "Caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def endings(files: Iterable[File], ending: str) -> dict[str, File]:
    """Files whose name has this ending (in any case), by the rest of their name."""
    length = len(ending)
    return {composed(file.name[:-length]): file for file in files if file.name.lower().endswith(ending.lower())}


def by_stem(tree: Tree, folder: str, split: str, suffixes: frozenset[str]) -> tuple[dict[str, File], list[Finding]]:
    """Files by stem; two files of one stem are an error, files of other kinds a note, hidden files nothing at all."""
    if not tree.has(folder):
        return {}, [Finding("error", split, tree.path(folder), ABSENT)]
    found: dict[str, File] = {}
    findings: list[Finding] = []
    unread: list[File] = []
    for file in tree.files(folder):
        name = composed(file.stem)
        if file.suffix.lower() not in suffixes:
            unread.append(file)
        elif name in found:
            findings.append(Finding("error", split, file, f"has the same name as {found[name].name}; keep one"))
        else:
            found[name] = file
    if unread:
        findings.append(_about_unread(tree, folder, split, unread, masks=suffixes == MASK_SUFFIXES))
    return found, findings


def _about_unread(tree: Tree, folder: str, split: str, unread: list[File], *, masks: bool) -> Finding:
    kinds = listed({file.suffix.lower() or "no suffix" for file in unread})
    if masks and any(file.suffix.lower() in IMAGE_SUFFIXES for file in unread):
        message = f"masks must be PNG, TIFF or BMP, which keep class ids exactly; found {len(unread)} others ({kinds})"
        return Finding("error", split, tree.path(folder), message)
    return Finding("note", split, tree.path(folder), f"{len(unread)} files are not read ({kinds})")


def listed(names: Iterable[str], *, shown: int = 8) -> str:
    """The first few names, sorted, for a message."""
    names = sorted(names)
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "") if names else "nothing"
