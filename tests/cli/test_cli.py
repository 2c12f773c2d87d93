"""The command line from end to end: a run on real images, then everything a user gets wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featalign
from featalign.cli import main

SMALL = (
    "training.iterations=2 training.batch=2 training.log_every=1 training.validate_every=2 training.warmup=0 "
    "data.crop=64 data.workers=0 model.backbone=resnet10t model.width=8 model.options={hidden: [12]}"
)


@dataclass
class Result:
    code: int
    out: str
    err: str

    def refuses(self, *parts: str) -> None:
        """One clear line, exit code 2, no traceback."""
        assert self.code == 2, self
        errors = [line for line in self.err.strip().splitlines() if not line.startswith("note:")]
        assert len(errors) == 1 and errors[0].startswith("featalign: "), self.err
        for part in parts:
            assert part in self.err, self.err


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch, capsys) -> Cli:
    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def settings(text: str = SMALL) -> list[str]:
    """``a=1 b={c: [2]}`` to ``--set a=1 --set "b={c: [2]}"``."""
    parts: list[str] = []
    for word in text.split(" "):
        if "=" in word:
            parts += ["--set", word]
        else:
            parts[-1] += f" {word}"
    return parts


@pytest.fixture(scope="module")
def camvid(data_dir, tmp_path_factory) -> Path:
    """Three real images per split."""
    source, root = data_dir / "camvid-480" / "camvid", tmp_path_factory.mktemp("data") / "camvid"
    if not source.is_dir():
        pytest.skip(f"{source} does not exist; set FEATALIGN_DATA")
    for split in ("train", "val", "test"):
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
            for file in sorted((source / split / part).iterdir())[:3]:
                shutil.copy(file, root / split / part)
    shutil.copy(source / "classes.json", root)
    return root


@pytest.fixture(scope="module")
def run_folder(camvid, tmp_path_factory) -> Path:
    """A run of two iterations through the command line."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = [sys.executable, "-m", "featalign", "train", "camvid/fpn_ifa_resnet18", "--data", camvid, "--out", out]
    done = subprocess.run([*map(str, command), *settings()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "best mIoU" in done.stdout
    return out


def test_train_leaves_a_complete_run(run_folder):
    assert {p.name for p in run_folder.iterdir()} >= {
        "model",
        "last",
        "log.jsonl",
        "metrics.json",
        "recipe.yaml",
        "versions.json",
    }
    assert json.loads((run_folder / "metrics.json").read_text())["iterations"] == 2


def test_eval(run_folder, camvid, cli, tmp_path):
    done = cli(
        "eval", run_folder, "--data", camvid, "--split", "test", "--boundary", "1,3", "--json", tmp_path / "s.json"
    )
    assert done.code == 0, done.err
    assert "mIoU" in done.out and "Bicyclist" in done.out and "3 px" in done.out
    scores = json.loads((tmp_path / "s.json").read_text())
    assert 0 <= scores["miou"] <= 1 and scores["images"] == 3 and set(scores["boundary"]) == {"1px", "3px"}
    counted = np.array(scores["confusion"]).sum()
    masks = [np.asarray(Image.open(p)) for p in (camvid / "test" / "masks").iterdir()]
    assert counted == sum(int((mask != 255).sum()) for mask in masks)


def test_predict(run_folder, camvid, cli, tmp_path):
    done = cli(
        "predict", run_folder, camvid / "test" / "images", "--out", tmp_path, "--size", "90x120", "--probabilities"
    )
    assert done.code == 0, done.err
    assert "3 of 3 images" in done.out
    for kind, suffix in (("labels", "png"), ("overlays", "png"), ("probabilities", "npz")):
        assert len(list((tmp_path / kind).glob(f"*.{suffix}"))) == 3
    assert Image.open(next((tmp_path / "labels").iterdir())).size == (120, 90)


def test_info_of_a_run_and_of_a_name(run_folder, cli, tmp_path):
    done = cli("info", run_folder, "--size", "64x96", "--json", tmp_path / "i.json")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "i.json").read_text())
    assert content["classes"] == 11 and content["size"] == [64, 96] and content["model"]["width"] == 8
    named = cli("info", "fpn", "--align", "ifa", "--backbone", "resnet18", "--set", "width=64", "--size", "64")
    assert named.code == 0 and "strides" in named.out and "multiply-adds" in named.out


def test_check_data(camvid, cli, tmp_path):
    done = cli("check-data", camvid, "--json", tmp_path / "c.json")
    assert done.code == 0, done.err
    assert "ready to train on" in done.out
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["ok"] is True
    pixels = found["splits"]["train"]["pixels"]
    middle = np.median([count for count in pixels.values() if count])
    lines = done.out.splitlines()
    shown = {name: line.split()[-1] for name in pixels for line in lines if line.startswith(f"{name}  ")}
    assert shown == {name: f"{middle / count if count else 1:.3g}" for name, count in pixels.items()}


def test_check_data_finds_what_train_refuses(camvid, cli, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(camvid, root)
    masks = sorted((root / "train" / "masks").iterdir())
    Image.fromarray(np.full((360, 480), 77, np.uint8)).save(masks[0])
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(masks[1])
    masks[2].unlink()
    done = cli("check-data", root)
    assert done.code == 2 and "77" in done.out and masks[1].name in done.out and masks[2].stem in done.out
    cli("train", "camvid/fpn_ifa_resnet18", "--data", root, "--out", tmp_path / "run").refuses("check-data")
    assert not (tmp_path / "run").exists()


def test_lists(cli):
    assert "camvid/fpn_ifa_resnet18" in cli("recipes").out
    assert "fpn" in cli("models").out and "backbone" in cli("models").out
    doctor = cli("doctor")
    assert doctor.code == 0 and "torchvision" in doctor.out and "cpu" in doctor.out


def test_version(cli):
    assert cli("--version").out == f"featalign {featalign.__version__}\n"


def test_help_is_instant_and_imports_no_torch():
    start = time.perf_counter()
    code = (
        "import sys; sys.argv = ['featalign', '--help']\nfrom featalign.cli import main\n"
        "try: main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False"), done.stdout[-100:]
    assert time.perf_counter() - start < 10  # half a second on a quiet machine; benchmarks/ measure it


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ("training.iteratons=2", ["training.iteratons", "did you mean", "iterations"]),
        ("training.iterations=many", ["training.iterations", "many"]),
        ("model.align=ifaa", ["did you mean", "ifa"]),
        ("model.options={widht: 3}", ["did you mean", "width"]),
        ("model.backbone=resnet81", ["unknown backbone", "did you mean"]),
    ],
)
def test_wrong_recipes(cli, camvid, tmp_path, overrides, parts):
    arguments = ["--data", camvid, "--out", tmp_path / "run", *settings(overrides)]
    cli("train", "camvid/fpn_ifa_resnet18", *arguments).refuses(*parts)
    assert not (tmp_path / "run" / "model").exists()


def test_unknown_recipe_and_missing_folders(cli, camvid, tmp_path):
    cli("train", "camvid/fpn_ifa_resnet81", "--data", camvid, "--out", tmp_path / "r").refuses("did you mean")
    cli("train", "camvid/fpn_ifa_resnet18", "--data", tmp_path / "no", "--out", tmp_path / "r").refuses(
        str(tmp_path / "no")
    )
    cli("check-data", tmp_path / "no").refuses(str(tmp_path / "no"))
    cli("eval", tmp_path / "no", "--data", camvid).refuses("no such folder")
    cli("info", "fnp").refuses("fnp")
    cli("info", "fpn", "--size", "big").refuses("HEIGHTxWIDTH")


def test_export_of_no_size(cli, run_folder, tmp_path):
    asked = ("export", run_folder, "--to", "onnx", "--out", tmp_path / "a.onnx")
    cli(*asked, "--size", "big").refuses('got "big"; dynamic leaves the size open')


def test_a_run_is_not_overwritten(cli, run_folder, camvid):
    before = (run_folder / "log.jsonl").read_bytes()
    again = cli("train", "camvid/fpn_ifa_resnet18", "--data", camvid, "--out", run_folder, *settings())
    assert again.code == 0 and "--overwrite" in again.err
    other = [*settings(), "--set", "training.lr=0.5"]
    cli("train", "camvid/fpn_ifa_resnet18", "--data", camvid, "--out", run_folder, *other).refuses("--overwrite")
    assert (run_folder / "log.jsonl").read_bytes() == before


def test_unknown_split(cli, run_folder, camvid):
    cli("eval", run_folder, "--data", camvid, "--split", "tset").refuses("tset", "test")


def save_sixteen_bit(path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(path)


def save_rgba(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(path)


def save_bomb(path: Path) -> None:
    """A PNG whose header claims a billion pixels."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (40_000).to_bytes(4, "big") + (25_000).to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(content))


def save_truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:600])


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda path: None, ["no such file"]),
        (lambda path: path.touch(), ["empty"]),
        (save_truncated, []),
        (lambda path: path.write_text("not an image"), []),
        (save_sixteen_bit, ["16"]),
        (save_rgba, ["4 channels"]),
        (save_bomb, ["--max-pixels"]),
    ],
)
def test_bad_images(cli, run_folder, tmp_path, make, parts):
    image = tmp_path / "bad.png"
    make(image)
    cli("predict", run_folder, image, "--out", tmp_path / "out").refuses("bad.png", *parts)
    assert not (tmp_path / "out" / "labels").exists()


def test_bad_models(cli, run_folder, camvid, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run_folder / "model", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    cli("eval", broken, "--data", camvid).refuses("model.safetensors", "again")
    torch.save({"a": torch.zeros(1)}, weights)
    cli("eval", broken, "--data", camvid).refuses("pickle", "convert")


def test_no_permission(cli, run_folder, camvid, tmp_path):
    (tmp_path / "file").touch()
    image = next((camvid / "test" / "images").iterdir())
    cli("predict", run_folder, image, "--out", tmp_path / "file" / "out").refuses(str(tmp_path / "file"))
    cli("train", "camvid/fpn_ifa_resnet18", "--data", camvid, "--out", tmp_path / "file", *settings()).refuses("file")


def test_wrong_options_are_refused_by_name(cli, run_folder, camvid):
    done = cli("eval", run_folder, "--data", camvid, "--mode", "dens")
    assert done.code == 2 and "dens" in done.err
    cli("eval", run_folder, "--data", camvid, "--boundary", "wide").refuses("3,5,8")
    cli("predict", run_folder, camvid / "test" / "images", "--out", "x", "--device", "cuda:77").refuses("doctor")
