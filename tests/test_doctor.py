"""The installation's own report."""

from __future__ import annotations

import sys

import pytest

import featalign
from featalign import doctor


def test_versions_of_everything_that_matters():
    found = doctor.versions()
    assert found["featalign"] == featalign.__version__
    assert "missing" not in found.values() and set(doctor.PACKAGES) < set(found)


def test_a_sound_installation_has_no_faults():
    assert doctor.faults() == []
    assert doctor.devices()[-1].startswith("cpu")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package"))
    assert doctor.faults() == ["no-such-package is not installed: pip install no-such-package"]


def test_a_mismatch_is_explained():
    error = RuntimeError("operator torchvision::nms does not exist")
    assert "install a matched pair" in doctor.explain(error)
    assert doctor.explain(RuntimeError("something else")) is None


def test_a_mismatch_stops_the_import_with_the_cure(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(featalign.importlib, "import_module", broken)
    with pytest.raises(ImportError, match="matched pair"):
        _ = featalign.Predictor


def test_the_command_line_explains_a_mismatch(monkeypatch, capsys):
    from featalign import cli
    from featalign.cli import app

    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(app, "app", broken)
    monkeypatch.setattr(sys, "argv", ["featalign"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2 and "matched pair" in capsys.readouterr().err


def test_public_names_are_there():
    for name in featalign.__all__:
        assert getattr(featalign, name) is not None
    assert featalign.load is featalign.load_model
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = featalign.nothing
