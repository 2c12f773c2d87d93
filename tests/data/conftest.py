"""Tiny folders in the layout of the folder data set, fabricated file by file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Array = np.ndarray


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes; train: a, b, c; val: d; 16 x 12 pixels; every class and 255 occur."""
    root = tmp_path / "set"
    random = np.random.default_rng(0)
    for split, names in {"train": "abc", "val": "d"}.items():
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for name in names:
            image = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            mask = random.choice(np.array([0, 1, 2, 255], np.uint8), (12, 16))
            Image.fromarray(image).save(root / split / "images" / f"{name}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{name}.png")
    classes = [{"id": i, "name": name} for i, name in enumerate(["sky", "road", "car"])]
    (root / "classes.json").write_text(json.dumps({"classes": classes, "ignore_index": 255}))
    return root


@pytest.fixture
def write_png() -> Callable[..., Path]:
    """A PNG written chunk by chunk, for what Pillow does not write: ``rows`` are the packed bytes of each row."""

    def write(path: Path, *, size: tuple[int, int], bits: int, color: int, rows: list[bytes]) -> Path:
        header = struct.pack(">IIBBBBB", *size, bits, color, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
        chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
        parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        return path

    return write


@pytest.fixture
def save_turned() -> Callable[..., Path]:
    """Save ``upright`` so that a viewer, obeying EXIF orientation 6, shows it upright."""

    def save(path: Path, upright: Array) -> Path:
        image = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
        exif = image.getexif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise to show
        image.save(path, exif=exif)
        return path

    return save
