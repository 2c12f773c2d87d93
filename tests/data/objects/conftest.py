"""The set of objects that the tests of this folder change and read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from coco_files import made_content, write_files


@pytest.fixture
def content() -> dict[str, Any]:
    return made_content()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], tuple[Path, Path]]:
    return partial(write_files, tmp_path)
