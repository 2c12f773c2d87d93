"""COCO's detection and instance files: read once, judged row by row, categories made class ids."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featalign.data.objects.rle import LEAST, Segmentation
from featalign.errors import DataError
from featalign.spec import Classes

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    """One object. ``box``: x, y, width, height in pixels, cut to the image; ``label``: class id from 0; ``area``: in
    pixels, None where the file does not say it."""

    number: int
    label: int
    box: Box
    crowd: bool
    segmentation: Segmentation | None
    area: float | None


@dataclass(frozen=True)
class CocoImage:
    """One image with its objects in the order of the file."""

    number: int
    file_name: str
    height: int
    width: int
    objects: tuple[Annotation, ...]

    @property
    def name(self) -> str:
        """For files and logs."""
        return Path(self.file_name.replace("\\", "/")).stem


@dataclass(frozen=True)
class CocoFile:
    """The images of a file, by number, and what is wrong with it.

    Attributes:
        path: of the JSON file.
        classes: names, in the order of the categories' numbers.
        categories: COCO's number of each class.
        images: in the order of their numbers; without the rows that are ``faulty``.
        faulty: the reason for each annotation that cannot be used, by its number.
        cut: numbers of the annotations whose box reached beyond the image and was cut.
    """

    path: Path
    classes: Classes
    categories: tuple[int, ...]
    images: tuple[CocoImage, ...]
    faulty: Mapping[int, str]
    cut: tuple[int, ...]


def read_coco(path: Path | str) -> CocoFile:
    """Read ``instances_*.json``. No image and no mask is opened.

    Raises:
        DataError: naming the file, if it is not such a file, or numbers of images, categories or annotations repeat.
            What is wrong with single annotations is in ``faulty``.
    """
    path = Path(path)
    content = load_json(path)
    rows = {table: keyed(content, table, path) for table in ("images", "categories", "annotations")}
    require(rows["images"], "images", ("file_name", "height", "width"), path)
    require(rows["categories"], "categories", ("name",), path)
    categories = tuple(sorted(rows["categories"]))
    try:
        classes = Classes.named([str(rows["categories"][number]["name"]) for number in categories])
        judged = [_judge(row, rows["images"], categories) for row in rows["annotations"].values()]
        objects: dict[int, list[Annotation]] = {number: [] for number in sorted(rows["images"])}
        for one in judged:
            if one.annotation:
                objects[one.image].append(one.annotation)
        images = tuple(_image(rows["images"][number], found) for number, found in objects.items())
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected COCO's detection format, got {error!r}") from error
    faulty = {row.number: row.fault for row in judged if row.fault}
    return CocoFile(path, classes, categories, images, faulty, tuple(row.number for row in judged if row.cut))


def load_json(path: Path) -> Any:
    """What a JSON file holds. Raises DataError naming it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})") from error


def keyed(content: Any, table: str, path: Path, *, key: str = "id") -> dict[int, dict[str, Any]]:
    """The rows of a table by their number. Raises DataError if it is missing or numbers repeat."""
    try:
        rows = content[table]
        found = {int(row[key]): row for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{path}: expected COCO\'s table "{table}" with "{key}" in each row, got {error!r}') from error
    if len(found) != len(rows):
        raise DataError(f'{path}: {len(rows) - len(found)} rows of "{table}" repeat the "{key}" of another')
    return found


def image_path(folder: Path, file_name: str) -> Path:
    """Where a file lies. Tools on Windows write ``sub\\\\name.png``, which is one name everywhere else; macOS writes
    accents apart from their letters."""
    if file_name.isascii() and "\\" not in file_name:
        return folder / file_name
    usual = file_name.replace("\\", "/")
    spelt = (file_name, usual, *(unicodedata.normalize(form, usual) for form in ("NFC", "NFD")))
    return next((folder / name for name in spelt if (folder / name).exists()), folder / usual)


def require(rows: Mapping[int, Mapping[str, Any]], table: str, fields: tuple[str, ...], path: Path) -> None:
    """Raises DataError for a row that says nothing of one of the fields."""
    for number, row in rows.items():
        for field in fields:
            if row.get(field) is None:
                raise DataError(
                    f'{path}: number {number} of "{table}" has no "{field}"; expected {", ".join(fields)} of each'
                )


@dataclass(frozen=True)
class _Judged:
    number: int
    image: int
    annotation: Annotation | None = None
    fault: str = ""
    cut: bool = False


def _judge(row: Mapping[str, Any], images: Mapping[int, Mapping[str, Any]], categories: tuple[int, ...]) -> _Judged:
    number, image, category = int(row["id"]), _number(row.get("image_id")), _number(row.get("category_id"))
    if image not in images:
        return _Judged(number, image, fault=f"is of image {image}, which the file does not list")
    if category not in categories:
        return _Judged(number, image, fault=f"is of category {category}, which the file does not list")
    height, width = int(images[image]["height"]), int(images[image]["width"])
    given = _finite(row.get("bbox"))
    if len(given) != 4:
        return _Judged(number, image, fault=f"has a box {row.get('bbox')!s:.60} that is not four numbers")
    x, y, w, h = given
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        what = "has no area" if w <= 0 or h <= 0 else f"lies outside the image of {width} x {height}"
        return _Judged(number, image, fault=f"has a box {[x, y, w, h]} that {what}")
    box = (left, top, right - left, bottom - top)
    crowd, area = bool(int(row.get("iscrowd") or 0)), next(iter(_finite([row.get("area")])), None)
    annotation = Annotation(number, categories.index(category), box, crowd, _segmentation(row), area)
    return _Judged(number, image, annotation, cut=(left, top, right, bottom) != (x, y, x + w, y + h))


def _number(value: Any) -> Any:
    """Text as the number it is; what is none is left as it is, since no image and no category has it."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _finite(values: Any) -> list[float]:
    """Numbers, also where they are written as text; nothing if one of them is none."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _segmentation(row: Mapping[str, Any]) -> Segmentation | None:
    """As the file has it, without polygons of fewer than three points, which cover nothing."""
    given = row.get("segmentation")
    if isinstance(given, list):
        given = [part for part in given if not isinstance(part, list) or len(part) >= LEAST]
    return given or None


def _image(row: Mapping[str, Any], objects: list[Annotation]) -> CocoImage:
    return CocoImage(int(row["id"]), str(row["file_name"]), int(row["height"]), int(row["width"]), tuple(objects))
