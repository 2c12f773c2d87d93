"""`featalign optimize` from end to end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.cli import main
from featalign.cli.optimizing import advise
from featalign.inference.optimizing import Form, Optimized, optimize
from featalign.models import create_model, load_model, save_model
from featalign.spec import Normalization


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def stored(folder: Path, **options: object) -> Path:
    save_model(create_model("fpn", classes=3, backbone="resnet10t", width=16, hidden=(12,), **options), folder)
    return folder


def test_measures_and_stores_a_model_like_any_other(monkeypatch, capsys, tmp_path):
    model = stored(tmp_path / "model")
    code = run(
        monkeypatch, "optimize", model, "--size", "70x90", "--out", tmp_path / "fast", "--json", tmp_path / "found.json"
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    forms = json.loads((tmp_path / "found.json").read_text())["forms"]
    assert [form["precision"] for form in forms] == ["fp32", "fp32", "bf16"]
    assert forms[0]["difference"] == 0 and forms[0]["equal"] == 1
    assert 0 < forms[1]["difference"] < 1e-4 and forms[1]["equal"] > 0.999
    assert forms[1]["difference"] < forms[2]["difference"] < 0.1
    assert all(form["seconds"] > 0 for form in forms)
    assert "use: featalign predict" in out and "equal labels" in out
    assert load_model(tmp_path / "fast").folded

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (45, 70, 3), np.uint8)).save(tmp_path / "a.png")
    for name, folder in (("plain", model), ("fast", tmp_path / "fast")):
        assert run(monkeypatch, "predict", folder, tmp_path / "a.png", "--out", tmp_path / name, "--probabilities") == 0
    plain, fast = (np.load(next((tmp_path / name).rglob("*.npz"))) for name in ("plain", "fast"))
    np.testing.assert_allclose(fast["probabilities"], plain["probabilities"], atol=1e-3)  # stored as float16
    capsys.readouterr()

    assert run(monkeypatch, "optimize", tmp_path / "fast") == 2
    assert "folded already" in capsys.readouterr().err


def test_a_compiler_that_fails_without_a_word_is_named_by_its_error(monkeypatch, capsys, tmp_path):
    def fail(module, **options):
        def forward(images):
            raise AssertionError

        module.forward = forward

    monkeypatch.setattr("torch.nn.Module.compile", fail)
    assert run(monkeypatch, "optimize", stored(tmp_path / "model"), "--size", "32x32", "--compile") == 2
    assert "torch.compile failed (AssertionError); leave --compile out" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("seconds", "output", "use"),
    [
        ((1, 2, 3), Path("fast"), "run"),
        ((2, 1, 3), Path("fast"), "fast"),
        ((3, 2, 1), Path("fast"), "fast --precision bf16"),
        ((3, 2, 1), None, "DIR --precision bf16; --out DIR writes it"),
    ],
)
def test_what_is_advised_is_the_form_that_was_measured(capsys, seconds, output, use):
    kinds = (("as it is", "fp32"), ("norms folded, channels last", "fp32"), ("and under bf16", "bf16"))
    forms = [Form(*kind, time, difference=0.0, equal=1.0) for kind, time in zip(kinds, seconds, strict=True)]
    advise(Optimized(create_model("fpn", classes=3, backbone="resnet10t", width=16), forms), 0.01, Path("run"), output)
    assert capsys.readouterr().out.splitlines()[-1] == f"use: featalign predict {use}"


def test_half_precision_that_was_measured_compiled_is_advised_compiled(monkeypatch, capsys):
    monkeypatch.setattr("torch.nn.Module.compile", lambda module, **options: None)
    model = create_model("fpn", classes=3, backbone="resnet10t", width=16, hidden=(12,))
    found = optimize(model, images=[torch.randn(1, 3, 40, 56)], device="cpu", compiled=True)
    fastest = replace(found.forms[-1], seconds=0.0, equal=1.0)
    advise(found._replace(forms=[*found.forms[:-1], fastest]), 0.01, Path("run"), Path("fast"))
    use = capsys.readouterr().out.splitlines()[-1]
    assert use.startswith("use: featalign predict fast --precision bf16; to compile: model.get_submodule")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "nowhere: no such file or folder"),
        (["--size", "big"], "expected a size"),
    ],
)
def test_refusals_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    assert run(monkeypatch, "optimize", stored(tmp_path / "m"), *arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_scenes_are_drawn_with_the_channels_and_bits_that_a_network_reads(monkeypatch, capsys, tmp_path):
    model = create_model("fpn", classes=3, backbone="resnet10t", width=16, hidden=(12,), in_channels=5)
    model.normalization = Normalization.for_channels(5, depth=16)
    save_model(model, tmp_path / "m")
    assert run(monkeypatch, "optimize", tmp_path / "m", "--size", "40x56") == 0
    out, err = capsys.readouterr()
    assert "use: featalign predict" in out and "tried on drawn scenes" in err


def test_where_nothing_can_be_written_nothing_is_measured(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert run(monkeypatch, "optimize", stored(tmp_path / "m"), "--out", tmp_path / "file" / "fast") == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and str(tmp_path / "file") in err


@pytest.mark.parametrize("run_holds", [False, True])
def test_the_model_itself_is_not_replaced(monkeypatch, capsys, tmp_path, run_holds):
    model = stored(tmp_path / "run" / "model")
    before = (model / "model.safetensors").read_bytes()
    source = tmp_path / "run" if run_holds else model
    assert run(monkeypatch, "optimize", source, "--out", model) == 2
    assert "holds the model itself" in capsys.readouterr().err
    assert (model / "model.safetensors").read_bytes() == before
