"""The folder layout: ``ROOT/classes.json`` and, per split, ``images/`` and ``masks/`` whose files pair by stem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from featalign.data.findings import Finding
from featalign.errors import DataError
from featalign.spec import Classes

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})

LAYOUT = "expected ROOT/classes.json, ROOT/SPLIT/images/NAME.jpg (or .png, …) and ROOT/SPLIT/masks/NAME.png"
_EXAMPLE = '{"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "object"}], "ignore_index": 255}'


@dataclass(frozen=True)
class Pair:
    """An image and its mask; ``name`` is the stem that they share."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Split:
    """The pairs of one split by name, and what is wrong with the rest of its files."""

    name: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> list[Finding]:
        """The findings that forbid training."""
        return [finding for finding in self.findings if finding.severity == "error"]


def read_classes(root: Path) -> Classes:
    """The classes of ``ROOT/classes.json``. Raises DataError, with an example, if there is no such file."""
    file = root / "classes.json"
    _require_folder(root)
    if not file.exists():
        raise DataError(f"{file}: does not exist; it names the mask values, for example: {_EXAMPLE}")
    return Classes.read(file)


def list_splits(root: Path) -> list[str]:
    """Names of the folders in ``root`` that hold ``images``, sorted. Raises DataError if there is none."""
    _require_folder(root)
    splits = sorted(folder.parent.name for folder in root.glob("*/images") if folder.is_dir())
    if not splits:
        raise DataError(f"{root}: has no split; {LAYOUT}; found: {_listed(entry.name for entry in root.iterdir())}")
    return splits


def scan_split(root: Path, split: str) -> Split:
    """Pair the files of one split by name, without opening them.

    Raises:
        DataError: if the split does not exist; everything less is a finding.
    """
    if split not in (known := list_splits(root)):
        raise DataError(f'{root}: has no split "{split}"; found: {_listed(known)}')
    images, findings = _by_stem(root / split / "images", split, IMAGE_SUFFIXES)
    masks, mask_findings = _by_stem(root / split / "masks", split, MASK_SUFFIXES)
    findings += mask_findings
    if not images:
        findings.append(Finding("error", split, root / split / "images", "holds no image"))
    findings += [
        Finding("error", split, images[n], "image without a mask") for n in sorted(images.keys() - masks.keys())
    ]
    findings += [
        Finding("error", split, masks[n], "mask without an image") for n in sorted(masks.keys() - images.keys())
    ]
    pairs = tuple(Pair(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys()))
    return Split(split, pairs, tuple(findings))


def _by_stem(folder: Path, split: str, suffixes: frozenset[str]) -> tuple[dict[str, Path], list[Finding]]:
    """Files by stem; two files of one stem are an error, files of other kinds a note, hidden files nothing at all."""
    if not folder.is_dir():
        return {}, [Finding("error", split, folder, "does not exist")]
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    found: dict[str, Path] = {}
    findings, unread = [], []
    for file in files:
        if file.suffix.lower() not in suffixes:
            unread.append(file)
        elif file.stem in found:
            findings.append(Finding("error", split, file, f"has the same name as {found[file.stem].name}; keep one"))
        else:
            found[file.stem] = file
    if unread:
        findings.append(_about_unread(folder, split, unread))
    return found, findings


def _about_unread(folder: Path, split: str, unread: list[Path]) -> Finding:
    kinds = _listed({file.suffix.lower() or "no suffix" for file in unread})
    if folder.name == "masks" and any(file.suffix.lower() in IMAGE_SUFFIXES for file in unread):
        message = f"masks must be PNG, TIFF or BMP, which keep class ids exactly; found {len(unread)} others ({kinds})"
        return Finding("error", split, folder, message)
    return Finding("note", split, folder, f"{len(unread)} files are not read ({kinds})")


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder; {LAYOUT}")


def _listed(names: Iterable[str], *, shown: int = 8) -> str:
    names = sorted(names)
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "") if names else "nothing"
