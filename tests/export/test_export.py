"""Each kind of file against the network it came from, at sizes and through the classes that users have."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import featalign.export.targets as targets
from featalign.cli.exporting import show
from featalign.data import normalize
from featalign.errors import ConfigError, DataError, ExportError, FeatalignError, WeightsError
from featalign.export import Exported, ExportedModel, export_model, is_exported, load_exported
from featalign.export.exported import _digest
from featalign.export.exporting import _beside, _why
from featalign.export.metadata import ExportInfo
from featalign.export.verify import Comparison, judge
from featalign.inference import Predictor
from featalign.models import Segmentor, create_model
from featalign.spec import Classes, Normalization

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
CLASSES = Classes(("road", "sky", "tree"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), ignore_index=250)
INFO = ExportInfo(CLASSES, 3, Normalization(), "dense", "fp32", None, {"name": "fpn"}, "0.1.0")


def network(**options) -> Segmentor:
    torch.manual_seed(0)
    model = create_model("fpn", classes=CLASSES, backbone="resnet10t", width=8, hidden=(16, 8), **options)
    return model.eval()


@pytest.fixture(scope="module")
def ifa() -> Segmentor:
    return network(align="ifa", blend="bilinear")


def written(model: Segmentor, folder: Path, to: str, **options) -> ExportedModel:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}[to])
    path = folder / f"model{SUFFIX[to]}"
    export_model(model, path, to=to, **options)
    return load_exported(path)


@pytest.mark.parametrize("to", ["torch", "onnx", "openvino"])
def test_answers_as_the_network_at_any_size_batch_and_answer(ifa, tmp_path, to):
    exported = written(ifa, tmp_path, to)
    assert (
        exported.info.mode == "dense"
        and exported.classes == CLASSES
        and exported.info.model == ifa.config | {"pretrained": False}
    )
    predictors = Predictor(exported, device="cpu"), Predictor(ifa, device="cpu")
    for shape, size in (((1, 3, 70, 101), (70, 101)), ((3, 3, 65, 90), (131, 40))):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        normalized = (pixels / 255 - torch.tensor(ifa.normalization.mean)[:, None, None]) / torch.tensor(
            ifa.normalization.std
        )[:, None, None]
        with torch.inference_mode():
            torch.testing.assert_close(exported(normalized, size), ifa(normalized, size), rtol=1e-4, atol=1e-5)
    image = np.random.default_rng(0).integers(0, 256, (80, 99, 3), np.uint8)
    found, wanted = (p(image, size=(90, 111), probabilities=True).probabilities for p in predictors)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ConfigError, match='exported with mode "dense"'):
        exported(torch.zeros(1, 3, 70, 70), mode="resized")
    assert load_exported(next(tmp_path.glob(f"*{SUFFIX[to]}"))).digest == exported.digest
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_one_size(tmp_path, to, precision):
    model = network(align="bilinear")
    exported = written(model, tmp_path, to, size=(72, 96), precision=precision)
    pixels = torch.randint(0, 256, (2, 3, 72, 96), dtype=torch.uint8)
    assert exported.logits(pixels, (72, 96)).shape == (2, 3, 72, 96)
    with pytest.raises(DataError, match="images of 72x96 only, got 80x96"):
        exported.logits(torch.zeros(1, 3, 80, 96, dtype=torch.uint8), (80, 96))


def test_a_file_whose_answers_differ_is_refused_and_removed(monkeypatch, tmp_path):
    model = network(align="bilinear")
    honest = targets.TARGETS["torch"].write

    def tampered(program, info, path):
        with torch.no_grad():
            next(iter(program.state_dict.values())).mul_(1.5)
        honest(program, info, path)

    monkeypatch.setattr(targets.Target, "write", property(lambda self: tampered))
    with pytest.raises(ExportError, match="does not give the network's answers"):
        export_model(model, tmp_path / "model.pt2", to="torch", size=(64, 64))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_known_by_its_own_weights_alone(tmp_path):
    for name in ("model.onnx", "model.xml"):
        (tmp_path / name).write_bytes(b"graph")
    before = _digest(tmp_path / "model.onnx"), _digest(tmp_path / "model.xml")
    (tmp_path / "model.bin").write_bytes(b"of model.xml")
    assert _digest(tmp_path / "model.onnx") == before[0]
    assert _digest(tmp_path / "model.xml") != before[1]


def test_the_network_itself_stays_as_it_was(monkeypatch, tmp_path):
    model = network(align="bilinear").train()
    monkeypatch.setattr("featalign.export.exporting.trace", None)
    with pytest.raises(ExportError):
        export_model(model, tmp_path / "model.pt2", to="torch", size=(64, 64))
    assert all(module.training for module in model.modules())


def broken(self, images, size):
    raise RuntimeError("Exception from somewhere.cpp:12:\nindices out of bounds")


def test_images_that_are_not_there_are_missed_before_the_work(ifa, monkeypatch, tmp_path):
    monkeypatch.setattr("featalign.export.exporting.trace", None)
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        export_model(ifa, tmp_path / "a.pt2", to="torch", images=tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_when_it_is_run_is_refused_and_removed(monkeypatch, tmp_path):
    monkeypatch.setattr("featalign.export.torch_file.TorchFile.run", broken)
    with pytest.raises(
        ExportError, match=r"fpn cannot be exported to torch with dynamic size \(.*indices out of bounds"
    ):
        export_model(network(align="bilinear"), tmp_path / "model.pt2", to="torch")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (None, "torch with dynamic size (too small); try a fixed one (--size HEIGHTxWIDTH), or another target"),
        ((1, 1), "torch with 1x1 (too small); try another size or target"),
    ],
)
def test_what_may_help_where_a_network_cannot_be_exported(ifa, size, message):
    reason = _why(RuntimeError("too small"), ifa, replace(INFO, size=size), targets.TARGETS["torch"])
    assert reason == f"fpn cannot be exported to {message}"


def test_an_image_that_a_file_cannot_take_is_named_by_its_size(monkeypatch):
    runner = SimpleNamespace(info=INFO, run=partial(broken, None))
    with pytest.raises(DataError, match=r"cannot be run on an image of 5x7 pixels \(indices out of bounds\)"):
        ExportedModel(runner, digest="").logits(torch.zeros(1, 3, 5, 7, dtype=torch.uint8), (5, 7))  # type: ignore[arg-type]


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_what_differs_is_not_good(difference):
    with pytest.raises(ExportError):
        judge(Comparison((4, 4), (4, 4), difference, 1.0, 1.0, (1.0, 1.0)), "fp32")
    judge(Comparison((4, 4), (4, 4), 1e-6, 1.0, 1.0, (1.0, 1.0)), "fp32")
    with pytest.raises(ExportError, match=r"90\.00 % of the labels"):
        judge(Comparison((4, 4), (4, 4), 1e-6, 1.0, 0.9, (1.0, 1.0)), "fp32")


def test_facts_come_back_from_their_text():
    assert ExportInfo.from_text(INFO.to_text(), source="x") == INFO
    with pytest.raises(WeightsError, match=r"x: was not written by `featalign export`"):
        ExportInfo.from_text("", source="x")
    with pytest.raises(WeightsError, match="metadata cannot be read"):
        ExportInfo.from_text('{"classes": []}', source="x")


def test_pixels_come_back_from_normalized_images():
    class Runner:
        info = INFO

    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    mean, std = (torch.tensor(v)[:, None, None] for v in (INFO.normalization.mean, INFO.normalization.std))
    assert torch.equal(ExportedModel(Runner(), digest="").pixels((pixels / 255 - mean) / std), pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.pt2", {"to": "onnx"}, "must end in .onnx"),
        ("a.onnx", {"to": "onx"}, 'did you mean "onnx"'),
        ("a.pt2", {"to": "torch", "precision": "int8"}, "int8 is for onnx and openvino"),
        ("a.onnx", {"to": "onnx", "precision": "int8"}, "int8 needs"),
        ("a.pt2", {"to": "torch", "mode": "adaptive"}, "no fixed graph can: set mode to dense or resized"),
    ],
)
def test_options_that_do_not_go_together(ifa, tmp_path, name, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        export_model(ifa, tmp_path / name, **options)


def test_a_file_has_its_own_precision():
    with pytest.raises(ConfigError, match="leave out the precision bf16"):
        Predictor(ExportedModel(SimpleNamespace(info=INFO), digest=""), precision="bf16")  # type: ignore[arg-type]


def test_a_point_head_needs_to_be_told_its_mode(tmp_path):
    model = create_model("fapn", classes=3, backbone="resnet10t", width=16, head_width=32, norm="BN", point_head=True)
    with pytest.raises(ConfigError, match="set mode to dense or resized"):
        export_model(model, tmp_path / "a.pt2", to="torch")
    assert written(model, tmp_path, "torch", mode="resized").info.mode == "resized"


def test_a_missing_package_is_named_with_the_cure(ifa, monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'featalign\[export\]'"):
        export_model(ifa, tmp_path / "a.onnx", to="onnx")


def test_what_runs_an_onnx_file_needs_nothing_of_what_writes_it(ifa, tmp_path):
    written(ifa, tmp_path, "onnx", size=(64, 96))
    program = (
        "import sys; sys.modules |= dict.fromkeys(['onnx', 'onnxscript'])\n"
        "import torch, featalign.export\n"
        "print(featalign.export.load_exported('model.onnx')(torch.zeros(1, 3, 64, 96)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "torch.Size([1, 3, 64, 96])"


def test_the_programs_of_the_page_run_without_this_library(ifa, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    programs = dict(zip(SUFFIX, re.findall(r"^```python\n(.*?)^```", page, re.M | re.S), strict=True))
    for to in programs:
        written(ifa, tmp_path, to)
    image = np.random.default_rng(0).integers(0, 256, (70, 99, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.jpg", "PNG")
    kept = [f"{text}np.save('{to}', logits)\nassert facts['mode'] == 'dense'" for to, text in programs.items()]
    alone = "import sys; assert 'featalign' not in sys.modules"
    text = "\n".join([*kept, alone]).replace("1080, 1920", "90, 110")
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True)
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        wanted = ifa(normalize(pixels, ifa.normalization), (90, 110)).numpy()
    for to in programs:
        np.testing.assert_allclose(np.load(tmp_path / f"{to}.npy"), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", ["openvino", "onnx"])
def test_what_other_programs_must_ask_of_openvino_is_said(to, capsys):
    show(Exported(Path("a"), (Comparison((65, 65), (65, 65), 0.0, 1.0, 1.0, (1.0, 1.0)),), None), to)
    assert ('"INFERENCE_PRECISION_HINT": "f32"' in capsys.readouterr().err) == (to == "openvino")


def test_openvino_without_its_weights(tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "a.xml").write_text("<net/>")
    with pytest.raises(WeightsError, match=r"weights a\.bin are not beside it"):
        load_exported(tmp_path / "a.xml")


def test_files_that_are_none(tmp_path):
    assert is_exported("a.onnx") and is_exported("a.XML") and not is_exported("runs/first")
    with pytest.raises(WeightsError, match="no such file"):
        load_exported(tmp_path / "a.pt2")
    with pytest.raises(WeightsError, match="expected a file ending in"):
        load_exported(tmp_path)
    for suffix in SUFFIX.values():
        damaged = tmp_path / f"a{suffix}"
        damaged.write_bytes(b"nothing of the kind")
        damaged.with_suffix(".bin").write_bytes(b"")  # OpenVINO's weights
        with pytest.raises(WeightsError, match="cannot open it"):
            load_exported(damaged)


def test_what_lies_in_the_place_of_the_file_is_told(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(FeatalignError, match=r"a\.onnx: cannot be written"), _beside(tmp_path / "a.onnx") as draft:
        draft.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
