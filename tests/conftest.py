"""Folders of real data and of golden vectors; tests that need them are skipped, with the reason, where absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def folder_from(variable: str, default: Path) -> Path:
    """The folder that ``variable`` names (or ``default``); skips the test if it does not exist."""
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; set {variable}")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return folder_from("FEATALIGN_DATA", SHARED / "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return folder_from("FEATALIGN_GOLDEN", SHARED / "golden")
