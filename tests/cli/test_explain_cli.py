"""`featalign explain` and `featalign info --table` from end to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featalign.cli import main
from featalign.models import create_model, save_model

Result = tuple[int, str, str]
Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch, capsys) -> Cli:
    """Arguments to exit code, standard output and errors."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        return (code, *capsys.readouterr())

    return run


def save(folder: Path, name: str, **options: object) -> Path:
    save_model(create_model(name, classes=3, backbone="resnet10t", width=32, **options), folder)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (45, 70, 3), np.uint8)).save(path)
    return path


def test_a_model_with_offset_fields(cli, image, tmp_path):
    code, out, err = cli("explain", save(tmp_path / "m", "alignseg"), image, "--out", tmp_path / "o")
    assert code == 0, err
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"image.png", "segmentation.png", "overview.png", "01-stride-32-context.png"} < written
    assert "02-stride-8-to-4-pathway.fuses.0.png" in written and len(written) == 8
    assert set(out.split()) == {str(tmp_path / "o" / name) for name in written}
    assert Image.open(tmp_path / "o" / "image.png").size == (96, 64)  # as the network sees it


def test_a_model_without(cli, image, tmp_path):
    model = save(tmp_path / "m", "fpn", align="bilinear", hidden=(12,))
    code, out, err = cli("explain", model, image, "--out", tmp_path / "o", "--input-size", "90x140")
    assert code == 0, err
    assert "no offset field" in out
    assert (tmp_path / "o" / "01-stride-4-8-16-32-decoder.function.png").exists()


def test_refusals(cli, image, tmp_path):
    model = save(tmp_path / "m", "fpn", hidden=(12,))
    (tmp_path / "file").touch()
    for arguments, part in (
        ((tmp_path / "no", image, "--out", tmp_path / "o"), "no such folder"),
        ((model, tmp_path / "no.png", "--out", tmp_path / "o"), "no.png"),
        ((model, image, "--out", tmp_path / "file"), str(tmp_path / "file")),
    ):
        code, _, err = cli("explain", *arguments)
        assert code == 2 and part in err and err.count("\n") == 1, err
    assert not (tmp_path / "o").exists()


def test_table(cli, monkeypatch, tmp_path):
    from featalign.cli import counting
    from featalign.models.tables import TABLES, Table

    last = TABLES[-1]
    short = Table(last.title, last.size, last.convention, last.count, last.rows[:1])
    monkeypatch.setattr(counting, "TABLES", (short,))
    files = "--json", tmp_path / "c.json", "--markdown", tmp_path / "c.md"
    code, out, err = cli("info", "--table", *files)
    assert code == 0, err
    assert "44.55" in out and "11.37" in out and "+0.05" in out
    (row,) = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert row["matches"] and row["paper"] == {"parameters": 11.4, "gflops": 44.5}
    assert "| FPN |" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize("arguments", [("info",), ("info", "fpn", "--table")])
def test_info_asks_for_one_thing(cli, arguments):
    code, _, err = cli(*arguments)
    assert code == 2 and "--table" in err and err.count("\n") == 1
