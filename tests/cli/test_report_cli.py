"""`featalign eval --out` and `featalign compare`: what they write, and what they refuse."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from fabricate import fabricate

from featalign.cli import main
from featalign.data import open_dataset
from featalign.doctor import versions
from featalign.inference import Evaluation
from featalign.models import create_model, save_model
from featalign.training import Recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two models and a data set of three images a split."""
    root = tmp_path_factory.mktemp("reports")
    fabricate("folder", root / "data", images=3)
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_model(create_model("fpn", classes=3, backbone="resnet10t", width=8, hidden=(12,)), root / str(seed))
    return root


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def evaluate(monkeypatch, root: Path, name: str, out: Path, *options: object) -> int:
    return run(monkeypatch, "eval", root / name, "--data", root / "data", "--device", "cpu", "--out", out, *options)


def test_eval_writes_a_report(root, tmp_path, monkeypatch, capsys):
    assert evaluate(monkeypatch, root, "0", tmp_path, "--worst", 1, "--flip", "--metrics", "boundary_iou") == 0
    assert "metrics.json and report.html written" in capsys.readouterr().out
    content = json.loads((tmp_path / "metrics.json").read_text())
    found = Evaluation.from_json(content)
    assert content["miou"] == found.scores.miou and content["flip"] is True and content["split"] == "test"
    assert content["versions"] == versions()
    assert set(content["per_image"]) == set(found.names) and found.images == 3
    page = (tmp_path / "report.html").read_text()
    assert f"{100 * found.scores.miou:.2f} %" in page and "Boundary IoU" in page
    assert page.count("<img ") == 2 * 4
    assert evaluate(monkeypatch, root, "1", tmp_path, "--worst", 0) == 0  # its own earlier report is replaced
    assert "<img " not in (tmp_path / "report.html").read_text()


def test_eval_refuses_what_it_would_spoil(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "metrics.json").write_text('{"best_miou": 0.5}')
    assert evaluate(monkeypatch, root, "0", tmp_path) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"best_miou": 0.5}
    assert evaluate(monkeypatch, root, "0", tmp_path / "part", "--shard", "1/2") == 2
    assert "merge-scores" in capsys.readouterr().err


def test_compare_runs_and_files_alike(root, tmp_path, monkeypatch, capsys):
    options = ("--data", root / "data", "--resamples", 200)
    runs = ("compare", root / "0", root / "1", *options, "--device", "cpu", "--pictures", 1)
    assert run(monkeypatch, *runs, "--out", tmp_path / "runs") == 0
    shown, said = capsys.readouterr()
    assert "warning: 3 images are few" in said
    for name in "01":
        assert evaluate(monkeypatch, root, name, tmp_path / name, "--worst", 0) == 0
    files = [tmp_path / name / "metrics.json" for name in "01"]
    assert run(monkeypatch, "compare", *files, "--resamples", 200, "--out", tmp_path / "files") == 0
    assert run(monkeypatch, "compare", *files, *options, "--pictures", 1, "--out", tmp_path / "both") == 0
    contents = [json.loads((tmp_path / f / "comparison.json").read_text()) for f in ("runs", "files", "both")]
    assert contents[0] == contents[2]
    assert contents[0]["scores"] == contents[1]["scores"] and contents[1]["regions"] == {}
    pages = [(tmp_path / f / "comparison.html").read_text() for f in ("runs", "files", "both")]
    assert pages[0] == pages[2] and pages[0].count("<img ") >= 5 and "<img " not in pages[1]
    assert "mIoU, 12 px" in shown and str(root / "1") in shown
    first = contents[0]["scores"]["mIoU"]
    assert first["low"] <= first["difference"] <= first["high"] and first["a"] - first["b"] == first["difference"]


def test_compare_reads_the_data_as_the_runs_did(root, tmp_path, monkeypatch):
    run_a = shutil.copytree(root / "0", tmp_path / "a")
    changes = ("data.layout=patterns", "data.test_split=val", "test.flip=true")
    options = "data.options={images: '{split}/images/{name}.png', masks: '{split}/masks/{name}.png'}"
    (run_a / "recipe.yaml").write_text(Recipe().with_overrides((*changes, options)).to_yaml())
    data = ("--data", root / "data", "--device", "cpu", "--pictures", 0, "--out", tmp_path / "out")
    assert run(monkeypatch, "compare", root / "1", run_a, *data, "--mode", "adaptive", "--effort", "0.05") == 0
    settings = json.loads((tmp_path / "out" / "comparison.json").read_text())["settings"]
    assert (settings["split"], settings["layout"], settings["flip"]) == ("val", "patterns", False)
    assert (settings["mode"], settings["effort"]) == ("adaptive", 0.05)


def test_compare_draws_pictures_within_the_limits(root, tmp_path, monkeypatch, capsys):
    for name in "01":
        assert evaluate(monkeypatch, root, name, tmp_path / name, "--worst", 0) == 0
    files = [tmp_path / name / "metrics.json" for name in "01"]
    options = ("--data", root / "data", "--out", tmp_path / "out")
    assert run(monkeypatch, "compare", *files, *options, "--max-pixels", 9) == 2
    assert "--max-pixels" in capsys.readouterr().err
    assert run(monkeypatch, "compare", *files, *options, "--device", "cuda:99") == 2
    assert "cuda:99" in capsys.readouterr().err


def test_compare_takes_an_exported_file_and_its_scores(root, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    file = tmp_path / "model.pt2"
    size = open_dataset(root / "data", "test")[0]["image"].shape[-2:]
    asked = ("--to", "torch", "--size", f"{size[0]}x{size[1]}", "--out", file)
    assert run(monkeypatch, "export", root / "0", *asked) == 0
    for name, source in (("file", file), ("run", root / "0")):
        options = ("--data", root / "data", "--device", "cpu", "--worst", 0, "--out", tmp_path / name)
        assert run(monkeypatch, "eval", source, *options) == 0
    scores = [tmp_path / name / "metrics.json" for name in ("file", "run")]
    options = (
        "--data",
        root / "data",
        "--device",
        "cpu",
        "--resamples",
        200,
        "--pictures",
        1,
        "--out",
        tmp_path / "out",
    )
    for sources in (scores, (file, root / "0")):
        assert run(monkeypatch, "compare", *sources, *options) == 0
        found = json.loads((tmp_path / "out" / "comparison.json").read_text())["scores"]["mIoU"]
        assert found["difference"] == pytest.approx(0, abs=0.01)


def test_compare_opens_both_runs_before_it_scores_one(root, tmp_path, monkeypatch, capsys):
    data = ("--data", root / "data", "--out", tmp_path / "out")
    assert run(monkeypatch, "compare", root / "0", root / "nowhere", *data) == 2
    assert "scoring" not in capsys.readouterr().err


def test_compare_refuses(root, tmp_path, monkeypatch, capsys):
    def refuses(*arguments: object) -> str:
        assert run(monkeypatch, "compare", *arguments, "--out", tmp_path / "out") == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith("featalign: ")
        return message

    assert "--data is needed" in refuses(root / "0", root / "1")
    assert evaluate(monkeypatch, root, "0", tmp_path / "a", "--worst", 0) == 0
    assert evaluate(monkeypatch, root, "0", tmp_path / "b", "--worst", 0, "--split", "val") == 0
    scores = [tmp_path / name / "metrics.json" for name in "ab"]
    assert "other images" in refuses(*scores)
    content = json.loads(scores[0].read_text())
    content["counts"]["classes"][0]["name"] = "river"
    scores[1].write_text(json.dumps(content))
    assert 'such as "river"' in refuses(*scores)
    content.pop("run")
    scores[1].write_text(json.dumps(content))
    assert "does not say which run" in refuses(*scores, "--data", root / "data")
    content.pop("layout")
    scores[0].write_text(json.dumps({**content, "run": str(root / "0")}))
    assert "(no layout)" in refuses(*scores, "--data", root / "data")
    scores[1].write_text("[]")
    assert "is not what" in refuses(*scores)
    assert not (tmp_path / "out").exists()
