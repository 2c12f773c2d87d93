"""`featalign predict` over many images: shards, going on after an interruption, bad images, protocols."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.cli import main
from featalign.models import create_model, save_model
from featalign.training import Recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, five images, and one file that is none."""
    root = tmp_path_factory.mktemp("predict")
    torch.manual_seed(0)
    save_model(create_model("fpn", classes=4, backbone="resnet10t", width=8, hidden=(12,)), root / "model")
    (root / "images").mkdir()
    generator = np.random.default_rng(0)
    for i in range(5):
        pixels = generator.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
    (root / "images" / "bad.png").write_text("not an image")
    return root


def predict(monkeypatch, folder: Path, out: Path, *options: object) -> int:
    arguments = ["featalign", "predict", folder / "model", folder / "images", "--out", out, *options]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.*") if p.suffix in (".png", ".npz")}


PROTOCOL = ("--scales", "0.5,1", "--flip", "--window", "32x32", "--overlap", "0.25")


def test_shards_write_what_one_process_writes(folder, tmp_path, monkeypatch, capsys):
    assert predict(monkeypatch, folder, tmp_path / "one", *PROTOCOL, "--probabilities") == 2
    assert "5 of 6 images" in capsys.readouterr().out
    for i in (1, 2, 3):
        predict(monkeypatch, folder, tmp_path / "three", *PROTOCOL, "--probabilities", "--shard", f"{i}/3")
    assert len(files(tmp_path / "one")) == 15 and files(tmp_path / "one") == files(tmp_path / "three")
    rows = [
        json.loads(line)
        for path in (tmp_path / "three").glob("failures*.jsonl")
        for line in path.read_text().split("\n")
        if line
    ]
    assert len(rows) == 1 and rows[0]["image"].endswith("bad.png") and "not a JPEG" in rows[0]["reason"]


def test_a_run_goes_on_where_it_was(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    predict(monkeypatch, folder, out, "--flip")
    expected = files(out)
    (out / "labels" / "1.png").unlink()
    (out / "overlays" / "2.png").unlink()
    shutil.copy(out / "labels" / "4.png", out / "labels" / "3.png")  # made of another image
    kept = {name: (out / "labels" / name).stat().st_mtime_ns for name in ("0.png", "4.png")}
    predict(monkeypatch, folder, out, "--flip", "--resume")
    assert files(out) == expected
    assert kept == {name: (out / "labels" / name).stat().st_mtime_ns for name in kept}
    capsys.readouterr()
    assert predict(monkeypatch, folder, out, "--resume") == 2
    refusal = capsys.readouterr().err
    assert "flip" in refusal and "--out" in refusal and refusal.count("\n") == 1
    assert files(out) == expected
    predict(monkeypatch, folder, out, "--scales", "2")  # without --resume: made anew
    assert files(out).keys() == expected.keys() and files(out) != expected


def test_files_of_other_settings_are_not_taken_for_complete(folder, tmp_path, monkeypatch):
    """An interrupted second run with other settings leaves files of the first: they are made anew."""
    out = tmp_path / "out"
    predict(monkeypatch, folder, out)
    old = files(out)
    predict(monkeypatch, folder, out, "--flip")
    new = files(out)
    (out / "labels" / "2.png").write_bytes(old["labels/2.png"])
    predict(monkeypatch, folder, out, "--flip", "--resume")
    assert files(out) == new


@pytest.mark.slow
def test_killed_and_resumed(folder, tmp_path, monkeypatch):
    many, out = tmp_path / "many", tmp_path / "out"
    (many / "images").mkdir(parents=True)
    shutil.copytree(folder / "model", many / "model")
    for i in range(40):
        shutil.copy(folder / "images" / f"{i % 5}.png", many / "images" / f"{i:02}.png")
    command = [sys.executable, "-m", "featalign", "predict", many / "model", many / "images", "--out", out]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while len(list((out / "labels").glob("[!.]*.png"))) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.read_bytes() for path in (out / "labels").glob("[!.]*.png")}
    assert len(done) >= 3
    for path in done:
        Image.open(path).load()
    monkeypatch.setattr(sys, "argv", [*map(str, command[2:]), "--resume"])
    main_code = _code()
    assert main_code == 0 and len(list((out / "labels").glob("[!.]*.png"))) == 40
    assert all(path.read_bytes() == content for path, content in done.items())


def _code() -> int:
    try:
        main()
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def test_a_box_in_pixels_and_in_shares(folder, tmp_path, monkeypatch):
    predict(monkeypatch, folder, tmp_path / "whole")
    predict(monkeypatch, folder, tmp_path / "pixels", "--box", "10,4,30,24")
    predict(monkeypatch, folder, tmp_path / "shares", "--box", "0.2,0.1,0.6,0.6")
    whole, pixels, shares = (
        np.asarray(Image.open(tmp_path / name / "labels" / "0.png")) for name in ("whole", "pixels", "shares")
    )
    assert pixels.shape == shares.shape == (20, 20)
    assert (pixels == shares).all() and (pixels == whole[4:24, 10:30]).mean() > 0.99
    assert np.asarray(Image.open(tmp_path / "pixels" / "overlays" / "0.png")).shape[0] >= 20


def test_the_dial_of_adaptive_goes_from_resized_to_dense(folder, tmp_path, monkeypatch):
    ends = {"resized": ("--mode", "resized"), "dense": ("--mode", "dense")}
    dial = {str(effort): ("--mode", "adaptive", "--effort", effort) for effort in (0, 0.3, 1)}
    for name, options in {**ends, **dial}.items():
        predict(monkeypatch, folder, tmp_path / name, *options)
    labels = {name: np.asarray(Image.open(tmp_path / name / "labels" / "0.png")) for name in (*ends, *dial)}
    assert (labels["0"] == labels["resized"]).all() and (labels["1"] == labels["dense"]).all()
    agreeing = [(labels[name] == labels["dense"]).mean() for name in ("0", "0.3", "1")]
    assert agreeing[0] < agreeing[1] <= agreeing[2] == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--shard", "3/2"), "i/n"),
        (("--scales", "half"), "0.5,0.75,1"),
        (("--scales", "0"), "positive"),
        (("--overlap", "1"), "below 1"),
        (("--window", "big"), "HEIGHTxWIDTH"),
        (("--max-memory", "much"), "2GiB"),
        (("--box", "0,0,1"), "left,top,right,bottom"),
        (("--box", "0.5,0,0.2,1"), "left < right"),
        (("--mode", "adaptive", "--effort", "1.5"), "0 to 1"),
        (("--mode", "dense", "--effort", "0.5"), "adaptive"),
    ],
)
def test_wrong_options(folder, tmp_path, monkeypatch, capsys, options, part):
    assert predict(monkeypatch, folder, tmp_path / "out", *options) == 2
    message = capsys.readouterr().err
    assert message.startswith("featalign: ") and part in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_too_small_a_budget_is_a_failure_of_each_image(folder, tmp_path, monkeypatch, capsys):
    assert predict(monkeypatch, folder, tmp_path / "out", "--max-memory", "1MiB") == 2
    assert capsys.readouterr().err.count("smaller windows (--window HxW)") == 5


def test_an_answer_larger_than_memory_is_refused_before_it_is_begun(folder, tmp_path, monkeypatch, capsys):
    assert predict(monkeypatch, folder, tmp_path / "out", "--size", "999999999x999999999") == 2
    reasons = capsys.readouterr().err.splitlines()
    assert reasons and all("an answer of 999999999x999999999 takes at least" in reason for reason in reasons)


def geotiff(path: Path, size: tuple[int, int], **options: object) -> Path:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    pixels = np.random.default_rng(1).integers(0, 256, (3, *size), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", height=size[0], width=size[1], count=3, dtype="uint8", **options
    ) as f:
        f.write(pixels)
    return path


def segment(monkeypatch, folder: Path, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["featalign", "predict", str(folder / "model"), *map(str, arguments)])
    return _code()


def test_a_geotiff_is_answered_by_one(folder, tmp_path, monkeypatch, capsys):
    """And other images of the same call by PNG, as ever."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    lies = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(4e5, 5.8e6, 1, 1)}
    image, out = geotiff(tmp_path / "ortho.tif", (180, 200), **lies), tmp_path / "out"
    options = ("--window", "96x96", "--margin", 16)
    assert segment(monkeypatch, folder, image, folder / "images" / "0.png", "--out", out, *options) == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "labels/0.png",
        "labels/ortho.tif",
        "manifest.json",
        "overlays/0.png",
        "overlays/ortho.png",
    ]
    with rasterio.open(out / "labels" / "ortho.tif") as file:
        assert file.crs == lies["crs"] and file.transform == lies["transform"] and file.shape == (180, 200)
    made = (out / "labels" / "ortho.tif").stat().st_mtime_ns
    assert segment(monkeypatch, folder, image, "--out", out, *options, "--resume") == 0
    assert (out / "labels" / "ortho.tif").stat().st_mtime_ns == made
    assert segment(monkeypatch, folder, image, "--out", out, "--margin", 8, "--resume") == 2
    assert "margin" in capsys.readouterr().err
    assert segment(monkeypatch, folder, image, "--out", tmp_path / "whole", "--no-parts") == 0
    assert (tmp_path / "whole" / "labels" / "ortho.png").is_file()


def test_a_box_of_a_geotiff(folder, tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    lies = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(4e5, 5.8e6, 1, 1)}
    image = geotiff(tmp_path / "ortho.tif", (180, 200), **lies)
    assert segment(monkeypatch, folder, image, "--out", tmp_path / "out", "--box", "30,40,130,120") == 0
    with rasterio.open(tmp_path / "out" / "labels" / "ortho.tif") as file:
        assert file.shape == (80, 100) and file.bounds == (4e5 + 30, 5.8e6 - 120, 4e5 + 130, 5.8e6 - 40)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_images_too_large_to_be_decoded_whole_are_seen_in_parts(folder, tmp_path, monkeypatch, capsys, suffix):
    pytest.importorskip("rasterio", reason="rasterio is not installed")
    pixels = np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    options = ("--max-pixels", 5000, "--window", "64x64", "--margin", 8)
    if suffix != ".tif":
        assert segment(monkeypatch, folder, tmp_path / f"a{suffix}", "--out", tmp_path / "no", *options) == 2
        assert "--parts" in capsys.readouterr().err
        options = (*options, "--parts")
    assert segment(monkeypatch, folder, tmp_path / f"a{suffix}", "--out", tmp_path / "out", *options) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "labels" / "a.tif")).shape == (90, 70)


def test_tiffs_that_memory_is_too_small_for_are_seen_in_parts(folder, tmp_path, monkeypatch, capsys):
    image = geotiff(tmp_path / "slide.tif", (900, 900))
    for memory, answer in (("60MiB", "slide.tif"), ("2GiB", "slide.png")):
        out = tmp_path / memory
        options = ("--max-memory", memory, "--margin", 32)
        assert segment(monkeypatch, folder, image, "--out", out, *options) == 0, capsys.readouterr().err
        assert [path.name for path in (out / "labels").iterdir()] == [answer]


def test_what_parts_cannot_do_is_said_in_a_line(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rasterio", reason="rasterio is not installed")
    turned = Image.fromarray(np.zeros((40, 50, 3), np.uint8))
    turned.getexif()[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    good = geotiff(tmp_path / "good.tif", (180, 200))
    for image, options, part in (
        (tmp_path / "turned.jpg", (), "orientation 6"),
        (good, ("--probabilities",), "--no-parts"),
        (good, ("--window", "64x64"), "smaller margin"),
        (folder / "images" / "bad.png", (), "cannot be opened"),
    ):
        assert segment(monkeypatch, folder, image, "--out", tmp_path / "out", "--parts", *options) == 2
        message = capsys.readouterr().err
        assert message.startswith("featalign: ") and part in message and message.count("\n") == 1, message


@pytest.mark.parametrize(
    ("query", "mode", "said"), [("grid", "dense", True), ("mixed", "dense", False), ("grid", "auto", False)]
)
def test_says_what_training_never_asked(folder, tmp_path, monkeypatch, capsys, query, mode, said):
    run = tmp_path / "run"
    shutil.copytree(folder / "model", run / "model")
    (run / "recipe.yaml").write_text(Recipe().with_overrides([f"training.query={query}"]).to_yaml())
    arguments = ["featalign", "predict", run, folder / "images/0.png", "--out", tmp_path / "out", "--mode", mode]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert ("note: this run's training.query is grid" in capsys.readouterr().err) == said
