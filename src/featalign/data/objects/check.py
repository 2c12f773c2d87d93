"""Every file and every annotation of a data set of objects, read before training is."""

from __future__ import annotations

from pathlib import Path

from featalign.data.findings import Finding
from featalign.data.images import load_image
from featalign.data.objects.coco import CocoFile, CocoImage, image_path, read_coco
from featalign.data.objects.dataset import has_objects, object_mask
from featalign.data.objects.panoptic import open_panoptic
from featalign.data.pairs import listed
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.errors import DataError


def check_objects(
    annotations: Path | str,
    images: Path | str,
    *,
    masks: bool = True,
    channels: int = 3,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> list[Finding]:
    """What is wrong or worth knowing; arguments as in :func:`featalign.data.objects.open_objects`.

    Errors: annotations of an image or a category that is not listed, boxes without area or outside the image, masks
    that are empty, missing or of another size, images that cannot be read or have another size. Notes: boxes that were
    cut, images without objects, images of nothing but crowds, classes without an object.

    Raises:
        DataError: if the file itself cannot be read.
    """
    file = read_coco(annotations)
    split = file.path.stem
    findings = [Finding("error", split, file.path, f"annotation {n} {why}") for n, why in file.faulty.items()]
    for image in file.images:
        findings += _check_image(image, Path(images), split, channels, max_pixels)
        findings += _check_masks(image, file, split) if masks else []
    return findings + [Finding("note", split, file.path, note) for note in _notes(file)]


def check_panoptic(
    annotations: Path | str,
    images: Path | str,
    *,
    segments: Path | str | None = None,
    channels: int = 3,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> list[Finding]:
    """The same for :func:`featalign.data.objects.open_panoptic`: each image and each PNG file against the JSON file."""
    dataset = open_panoptic(annotations, images, segments=segments, channels=channels, max_pixels=max_pixels)
    split = Path(annotations).stem
    findings = []
    for index, image in enumerate(dataset.images):
        try:
            dataset[index]
        except DataError as error:
            file = image.image if str(error).startswith(f"{image.image}: ") else image.segments
            findings.append(Finding("error", split, file, str(error).removeprefix(f"{file}: ")))
    if dataset.unlabelled:
        said = f"{len(dataset.unlabelled)} images without segments are left out: {listed(dataset.unlabelled)}"
        findings.append(Finding("note", split, Path(annotations), said))
    return findings


def _check_image(image: CocoImage, folder: Path, split: str, channels: int, max_pixels: int) -> list[Finding]:
    path = image_path(folder, image.file_name)
    try:
        height, width = load_image(path, channels=channels, max_pixels=max_pixels).pixels.shape[:2]
    except DataError as error:
        return [Finding("error", split, path, str(error).removeprefix(f"{path}: "))]
    if (height, width) == (image.height, image.width):
        return []
    said = f"{width} x {height} pixels, but the annotations say {image.width} x {image.height}"
    turned = "; photos are read turned as their EXIF data say" if (width, height) == (image.height, image.width) else ""
    return [Finding("error", split, path, said + turned)]


def _check_masks(image: CocoImage, file: CocoFile, split: str) -> list[Finding]:
    findings = []
    for one in image.objects:
        try:
            object_mask(one, (image.height, image.width))
        except DataError as error:
            findings.append(Finding("error", split, file.path, f"annotation {one.number} {error}"))
    return findings


def _notes(file: CocoFile) -> list[str]:
    bare = sum(not image.objects for image in file.images)
    crowded = sum(bool(image.objects) and not has_objects(image) for image in file.images)
    present = {one.label for image in file.images for one in image.objects if not one.crowd}
    absent = [name for label, name in enumerate(file.classes.names) if label not in present]
    return [
        note
        for count, note in (
            (len(file.cut), f"{len(file.cut)} boxes reach beyond their image and are cut"),
            (bare, f'{bare} images without objects: background, or left out with empty="drop"'),
            (crowded, f'{crowded} images of nothing but crowds: for training leave them out with empty="drop"'),
            (len(absent), f"classes without an object: {listed(absent, shown=12)}"),
        )
        if count
    ]
