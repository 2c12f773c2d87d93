"""Images that are seen in parts: the answer of the whole, where it lies, and however often it was interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featalign.data.scenes import SceneDataset
from featalign.errors import ConfigError, DataError, FeatalignError
from featalign.inference import Predictor, predict_files, predict_raster
from featalign.inference.blocks import Blocks
from featalign.inference.predictor import as_images
from featalign.inference.regions import Area, region_of
from featalign.models import Segmentor, create_model, save_model

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
LIES = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(400_000, 5_800_000, 0.5, 0.25)}


def network(**options: object) -> Segmentor:
    torch.manual_seed(0)
    model = create_model("fpn", backbone="resnet10t", width=8, hidden=(12,), **{"classes": 5, **options}).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.5)  # answers that differ from place to place
    return model


@pytest.fixture(scope="module")
def model() -> Segmentor:
    return network()


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    """(416, 544, 3)"""
    image = SceneDataset(1, (416, 544), seed=5)[0]["image"]
    return np.ascontiguousarray(torch.as_tensor(image).permute(1, 2, 0).numpy())


def write(path: Path, pixels: NDArray[np.integer], **options: object) -> Path:
    height, width, count = pixels.shape
    shape = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **{**shape, **LIES, **options}) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


def read(path: Path) -> NDArray[np.integer]:
    with rasterio.open(path) as file:
        return file.read(1)


def reach(model: Segmentor) -> int:
    """How far from a pixel the answer depends on the image, by the gradient."""
    image = torch.rand(1, 3, 512, 512, requires_grad=True)
    model(image, None, "resized")[0, :, 255:257, 255:257].square().sum().backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()
    return max(256 - int(rows.min()), int(rows.max()) - 255)


@pytest.mark.parametrize(
    ("views", "options"),
    [
        ({}, {}),
        ({"mode": "dense"}, {"size": (832, 1088)}),
        ({"mode": "resized"}, {"box": (0.25, 0.125, 0.875, 0.75)}),
        ({"scales": (0.5, 1.0), "flip": True}, {}),
        ({"mode": "dense"}, {"shown": (397, 531)}),
        ({}, {"shown": (393, 541)}),
    ],
)
def test_parts_with_a_margin_as_wide_as_the_network_looks_equal_the_whole(model, scene, views, options):
    height, width = options.get("shown", scene.shape[:2])
    scene, options = scene[:height, :width], {k: v for k, v in options.items() if k != "shown"}
    predictor = Predictor(model, **views)
    whole = predictor(scene, probabilities=True, **options).probabilities
    region, natural = region_of(options.get("box"), scene.shape[:2])
    margin, errors = reach(model), []
    assert 64 < margin < 200
    for used in (0, margin):
        blocks = Blocks(
            scene.shape[:2],
            scene.shape[:2],
            region,
            options.get("size", natural),
            (2 * used + 64,) * 2,
            used,
            predictor.views.scales,
        )
        assert len(blocks) > 1
        errors.append(0.0)
        for block in blocks:
            seen = blocks.views(block)
            rows, columns = blocks.pixels(seen)
            cut = as_images(scene[rows.start : rows.stop, columns.start : columns.stop])
            picture = predictor.picture(cut, whole=scene.shape[:2], origin=(rows.start, columns.start))
            found = predictor.average(picture, seen, block.size, None).probabilities()[0].numpy()
            part = whole[:, block.rows.start : block.rows.stop, block.columns.start : block.columns.stop]
            errors[-1] = max(errors[-1], float(np.abs(found - part).max()))
    assert errors[0] > 1e-3 and errors[1] < 1e-5


def test_the_file_has_the_labels_of_the_whole_and_lies_where_the_image_lies(model, scene, tmp_path):
    image = write(tmp_path / "a.tif", scene)
    predict_raster(Predictor(model, window=(288, 288)), image, tmp_path / "b.tif", preview=tmp_path / "b.png")
    expected = Predictor(model)(scene).labels
    assert (read(tmp_path / "b.tif") == expected).mean() > 0.9999
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.crs == LIES["crs"] and file.transform == LIES["transform"] and file.nodata == 255
        assert (
            file.colormap(1)[1][:3] == model.classes.colors[1]
            and file.block_shapes == [(512, 512)]
            and file.overviews(1) == [2, 4]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.png", "b.tif"]


def test_a_part_at_another_size_lies_there_too(model, scene, tmp_path):
    image = write(tmp_path / "a.tif", scene)
    predictor = Predictor(model, window=(288, 288), mode="dense")
    area = Area.parse("136,104,408,312")
    predict_raster(predictor, image, tmp_path / "b.tif", area=area, size=(416, 544))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.shape == (416, 544)
        assert file.bounds == (400_000 + 68, 5_800_000 - 78, 400_000 + 204, 5_800_000 - 26)
    expected = Predictor(model, mode="dense")(scene, size=(416, 544), box=area.within((416, 544))).labels
    assert (read(tmp_path / "b.tif") == expected).mean() > 0.999


def test_ground_control_points_move_along(model, scene, tmp_path):
    points = [
        rasterio.control.GroundControlPoint(row=r, col=c, x=10 + c, y=50 - r) for r, c in ((0, 0), (400, 20), (30, 500))
    ]
    image = write(tmp_path / "a.tif", scene, transform=None, gcps=points)
    predict_raster(Predictor(model), image, tmp_path / "b.tif", area=Area.parse("20,10,420,410"), size=(200, 200))
    with rasterio.open(tmp_path / "b.tif") as file:
        moved, system = file.gcps
    assert system == LIES["crs"]
    assert [(p.row, p.col) for p in moved] == [((p.row - 10) / 2, (p.col - 20) / 2) for p in points]


@pytest.mark.parametrize("kind", ["nodata", "alpha"])
def test_where_the_image_has_nothing_nor_has_the_answer(model, scene, tmp_path, kind):
    pixels, missing = np.maximum(scene, 1), np.zeros(scene.shape[:2], bool)
    missing[:, :200] = missing[300:, 400:500] = True
    pixels[missing] = 0
    if kind == "alpha":
        image = write(
            tmp_path / "a.tif",
            np.dstack([pixels, np.where(missing, 0, 255).astype(np.uint8)]),
            photometric="rgb",
            alpha="yes",
        )
    else:
        image = write(tmp_path / "a.tif", pixels, nodata=0)
    asked = Counting(model)
    predict_raster(Predictor(asked, window=(128, 128)), image, tmp_path / "b.tif", margin=32)
    labels = read(tmp_path / "b.tif")
    assert ((labels == 255) == missing).all()
    blocks = Blocks(missing.shape, missing.shape, region_of(None, missing.shape)[0], missing.shape, (128, 128), 32)
    empty = sum(bool(missing[b.rows.start : b.rows.stop, b.columns.start : b.columns.stop].all()) for b in blocks)
    assert 0 < asked.count == len(blocks) - empty < len(blocks)


class Counting:
    """A network that answers for whole windows only, and counts them."""

    def __init__(self, model: Segmentor) -> None:
        self.model, self.count = model, 0
        self.classes, self.in_channels, self.normalization = model.classes, model.in_channels, model.normalization

    def __call__(self, images, size=None, mode="auto"):
        self.count += 1
        return self.model(images, size, mode)


def test_sixteen_bits_and_many_channels(tmp_path):
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 2**16, (20, 25, 6), dtype=np.uint16).repeat(16, 0).repeat(16, 1)
    model = network(in_channels=6, classes=300)
    model.normalization = model.normalization.for_channels(6, depth=16)
    predict_raster(Predictor(model, window=(288, 288)), write(tmp_path / "a.tif", pixels), tmp_path / "b.tif")
    labels = read(tmp_path / "b.tif")
    expected = Predictor(model)(pixels).labels
    assert (labels == expected).mean() > 0.98 and len(np.unique(labels)) > 1  # 300 classes are often nearly equal
    assert labels.dtype == np.uint16


def test_grey_serves_as_colour_and_strips_as_tiles(model, scene, tmp_path):
    grey = scene[..., :1]
    image = write(tmp_path / "a.tif", grey, blockysize=1)
    predict_raster(Predictor(model, window=(288, 288)), image, tmp_path / "b.tif")
    assert (read(tmp_path / "b.tif") == Predictor(model)(grey.repeat(3, 2)).labels).mean() > 0.999


def test_ids_that_a_byte_cannot_hold_with_void(tmp_path, scene):
    model = network(classes=256)
    predict_raster(Predictor(model), write(tmp_path / "a.tif", scene[:64, :64]), tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.dtypes == ("uint16",) and file.nodata == 65535


def test_killed_and_resumed(model, scene, tmp_path):
    """The file is that of a run in one go, and finished blocks are not answered again."""
    save_model(model, tmp_path / "model")
    image = write(tmp_path / "a.tif", scene)
    script = (
        "import sys, featalign, torch; from featalign.inference import Predictor, predict_files, predict_raster;"
        "torch.set_num_threads(1);"
        "predict_raster(Predictor(featalign.load(sys.argv[1]), window=(96, 96)), sys.argv[2], sys.argv[3], margin=32)"
    )
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in ("model", "a.tif", "b.tif"))]
    process = subprocess.Popen(command)
    parts = tmp_path / ".b.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("[!.]*.npy"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "b.tif").exists() and len(list(parts.glob("[!.]*.npy"))) >= 5
    finished = {path: path.stat().st_mtime_ns for path in parts.glob("[!.]*.npy")}
    predictor, torch_threads = Predictor(model, window=(96, 96)), torch.get_num_threads()
    torch.set_num_threads(1)

    def kept(items, *, total, description):
        yield from items
        assert finished.items() <= {path: path.stat().st_mtime_ns for path in parts.glob("[!.]*.npy")}.items()

    try:
        predict_raster(predictor, image, tmp_path / "b.tif", margin=32, resume=True, progress=kept)
        predict_raster(predictor, image, tmp_path / "c.tif", margin=32)
    finally:
        torch.set_num_threads(torch_threads)
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes() and not parts.exists()


def test_what_another_run_left_is_refused_or_removed(model, scene, tmp_path):
    image = write(tmp_path / "a.tif", scene)
    predictor, labels = Predictor(model, window=(160, 160)), tmp_path / "b.tif"

    def stop(items, *, total, description):
        for i, item in enumerate(items):
            if i == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        predict_raster(predictor, image, labels, margin=32, progress=stop)
    for changed, name in (
        ({"margin": 16}, "margin"),
        ({"size": (100, 100)}, "answer, size"),
        ({"predictor": Predictor(model, window=(160, 160), flip=True)}, "flip"),
        ({"predictor": Predictor(network(classes=6), window=(160, 160))}, "model"),
    ):
        with pytest.raises(FeatalignError, match=name):
            predict_raster(
                **{"predictor": predictor, "image": image, "labels": labels, "margin": 32, "resume": True, **changed}
            )
    write(image, 255 - scene)
    with pytest.raises(FeatalignError, match="another image; take the same image"):
        predict_raster(predictor, image, labels, margin=32, resume=True)
    predict_raster(predictor, image, labels, margin=32)
    expected = Predictor(model)(255 - scene).labels
    assert (read(labels) == expected).mean() > 0.99


@pytest.mark.parametrize(
    ("pixels", "options", "part"),
    [
        (
            np.zeros((32, 32, 4), np.uint8),
            {"photometric": "minisblack"},
            r"4 channels .*, expected 3; choose them: gdal_translate -b 1 -b 2 -b 3",
        ),
        (np.zeros((32, 32, 3), np.uint16), {}, "uint16 pixels, expected uint8"),
        (np.zeros((32, 32, 3), np.float32), {}, "float32 pixels"),
    ],
)
def test_images_that_do_not_fit(model, tmp_path, pixels, options, part):
    image = write(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(DataError, match=f"a.tif: {part}"):
        predict_raster(Predictor(model), image, tmp_path / "b.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_palettes_and_files_that_are_none(model, tmp_path):
    image = write(tmp_path / "a.tif", np.zeros((32, 32, 1), np.uint8))
    with rasterio.open(image, "r+") as file:
        file.write_colormap(1, {0: (255, 0, 0)})
    with pytest.raises(DataError, match=r"a\.tif: has a palette; .*-expand rgb"):
        predict_raster(Predictor(model), image, tmp_path / "b.tif")
    with pytest.raises(DataError, match=r"none\.tif: does not exist"):
        predict_raster(Predictor(model), tmp_path / "none.tif", tmp_path / "b.tif")
    (tmp_path / "text.tif").write_text("text")
    with pytest.raises(DataError, match=r"text\.tif: cannot be opened"):
        predict_raster(Predictor(model), tmp_path / "text.tif", tmp_path / "b.tif")


def test_options_that_have_no_meaning(model, scene, tmp_path):
    image = write(tmp_path / "a.tif", scene)
    for predictor, options, part in (
        (Predictor(model, published="ifa"), {}, "whole images"),
        (Predictor(model, max_memory=2**20), {}, "too small for windows with a margin of 128: allow [0-9]+MiB"),
        (Predictor(model, window=(128, 128)), {}, "at least 288, or a smaller margin"),
        (Predictor(model), {"margin": -1}, "at least 0"),
        (Predictor(model), {"size": (0, 5)}, "at least one pixel"),
        (Predictor(model), {"area": Area.parse("0,0,9999,5")}, "reaches out"),
    ):
        with pytest.raises(ConfigError, match=part):
            predict_raster(predictor, image, tmp_path / "b.tif", **options)
    with pytest.raises(ConfigError, match="overwritten"):
        predict_raster(Predictor(model), image, image)


def test_windows_are_as_large_as_the_memory_allows(model, tmp_path):
    image = write(tmp_path / "a.tif", np.zeros((2100, 2100, 3), np.uint8))
    counts = []
    for memory in (None, 2**28, 2**26):
        seen = []
        predictor = Predictor(model, max_memory=memory)
        with pytest.raises(KeyboardInterrupt):
            predict_raster(predictor, image, tmp_path / "b.tif", progress=noting(seen))
        counts.append(seen[0])
    assert counts[0] < counts[1] < counts[2]


def noting(counts: list[int]):
    def progress(items, *, total, description):
        counts.append(total)
        raise KeyboardInterrupt

    return progress


def test_a_channel_that_gdal_takes_for_alpha_is_a_channel(tmp_path, scene):
    """Near infrared is 0 over dark water, which is no lack of data."""
    near = np.full((*scene.shape[:2], 1), 90, np.uint8)
    near[100:200, 150:300] = 0
    image = write(tmp_path / "a.tif", np.concatenate((scene, near), 2))
    with rasterio.open(image) as file:
        assert file.colorinterp[3] is rasterio.enums.ColorInterp.alpha
    predict_raster(Predictor(network(in_channels=4)), image, tmp_path / "four.tif", margin=32)
    assert (read(tmp_path / "four.tif") != 255).all()
    predict_raster(Predictor(network()), image, tmp_path / "three.tif", margin=32)
    assert ((read(tmp_path / "three.tif") == 255) == (near[..., 0] == 0)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"photometric": "MINISWHITE"}, "0 is white"), ({"nbits": 4}, "grey of 4 bits")],
)
def test_values_that_readers_take_differently_are_refused(model, scene, tmp_path, options, message):
    image = write(tmp_path / "a.tif", scene[..., :1] // 16, **options)
    with pytest.raises(DataError, match=message):
        predict_raster(Predictor(model), image, tmp_path / "b.tif")


def test_an_image_of_the_same_size_is_another_image(model, scene, tmp_path):
    """Tiles of two years have one name and, uncompressed, one size."""
    for year, pixels in (("2023", scene), ("2024", scene[::-1])):
        (tmp_path / year).mkdir()
        write(tmp_path / year / "tile.tif", pixels)
    predictor = Predictor(model)
    for parts in (True, False):
        answers = []
        for year in ("2023", "2024"):
            out = tmp_path / f"out{parts}"
            failures = predict_files(predictor, [tmp_path / year / "tile.tif"], out, parts=parts, resume=True)
            assert not failures
            found = out / "labels" / ("tile.tif" if parts else "tile.png")
            answers.append((read(found), found.stat().st_mtime_ns))
            predict_files(predictor, [tmp_path / year / "tile.tif"], out, parts=parts, resume=True)
            assert found.stat().st_mtime_ns == answers[-1][1]  # the same again is not
        assert (answers[0][0] != answers[1][0]).any()


def test_what_a_finished_run_left_is_removed(model, scene, tmp_path):
    image = write(tmp_path / "tile.tif", scene)
    predict_files(Predictor(model), [image], tmp_path / "out", parts=True)
    left = tmp_path / "out/labels/.tile.parts"
    left.mkdir()
    predict_files(Predictor(model), [image], tmp_path / "out", parts=True, resume=True)
    assert not left.exists()
