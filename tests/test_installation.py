"""An installation: what the wheel holds; what works without extras, and that the rest says which extra it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from fabricate import fabricate
from object_data import write_objects
from packaging.requirements import Requirement
from PIL import Image

import featalign

ROOT = Path(__file__).parents[1]

WORKS = [
    "doctor",
    "models",
    "check-data DATA",
    "train small.yaml --data DATA --out run",
    "eval run --data DATA --split test",
    "predict run photo.png --out answers",
    "explain run photo.png --out pictures",
    "compare run run --data DATA --split test --out report",
    "export run --to torch --size 64x64 --out model.pt2",
    "share run --to folder",
]
NEEDS = {
    "check-data MATLAB": "mat",
    "check-data OBJECTS --on-error skip": "detection",
    "train boxes.yaml --data OBJECTS --out boxes": "detection",
    "train small.yaml --data DATA --out curves --set training.tensorboard=true": "tensorboard",
    "info maskformer --backbone resnet10t": "maskformer",
    "predict run photo.png --out parts --parts": "geo",
    "predict run photo.png --out cluster --engine ray": "ray",
    "export run --to onnx --out model.onnx": "export",
    "export run --to openvino --out model.xml": "export",
    "export run --to onnx --precision int8 --data DATA --out model.onnx": "int8",
    "serve run": "serve",
    "serve run --demo": "try",
}
RECIPE = {
    "model": {"backbone": "resnet10t", "width": 8, "options": {"hidden": [12]}},
    "data": {"crop": 64, "workers": 0},
    "training": {"iterations": 1, "batch": 2, "warmup": 0},
}
BOXES = {
    "model": {"name": "faster_rcnn", "backbone": "resnet10t", "width": 8},
    "data": {"workers": 0, "options": {"masks": False}},
    "training": {"iterations": 1, "batch": 1},
}
RUN = """
import contextlib, io, json, shlex, sys, traceback
from featalign.cli import main

said = {}
for line in json.load(sys.stdin):
    sys.argv, text, code = ["featalign", *shlex.split(line)], io.StringIO(), 0
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except Exception:
            code = traceback.format_exc()
    said[line] = code, text.getvalue()
json.dump(said, sys.stdout)
"""


def link_requirements(folder: Path) -> None:
    """Fill ``folder`` with links to what `pip install featalign`, without extras, would install, and to the package."""
    waiting, seen = [Requirement("featalign")], set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        found = metadata.distribution(wanted.name)
        for name in {file.parts[0] for file in found.files or ()} - {".."}:
            if not (folder / name).exists():
                (folder / name).symlink_to(found.locate_file(name))
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                waiting.append(needed)
    if not (folder / "featalign").exists():  # an editable installation
        (folder / "featalign").symlink_to(Path(featalign.__file__).parent)


@pytest.fixture(scope="module")
def without_extras(tmp_path_factory) -> dict[str, tuple[int | str, str]]:
    """Exit code, or traceback, and words of every command, where nothing is installed that only extras bring."""
    site, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    link_requirements(site)
    fabricate("folder", here / "DATA")
    fabricate("coco_stuff10k", here / "MATLAB")
    write_objects(here / "OBJECTS", images=2)
    Image.new("RGB", (64, 48)).save(here / "photo.png")
    for name, recipe in (("small", RECIPE), ("boxes", BOXES)):
        (here / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN],  # -S: its only packages are those of PYTHONPATH
        input=json.dumps([*WORKS, *NEEDS]),
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", WORKS)
def test_works_without_extras(without_extras, line):
    code, said = without_extras[line]
    assert code == 0, f"{said}\n{code}"


@pytest.mark.parametrize(("line", "extra"), NEEDS.items())
def test_names_the_extra_that_it_needs(without_extras, line, extra):
    code, said = without_extras[line]
    assert code == 2, f"{said}\n{code}"
    assert f"pip install 'featalign[{extra}]'" in said


def test_the_wheel_holds_the_package_and_what_it_reads(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel", reason="pip install hatchling").WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    there = (path for path in (source / "featalign").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert held == {path.relative_to(source).as_posix() for path in there}
