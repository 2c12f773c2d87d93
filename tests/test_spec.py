"""Classes and normalization: their JSON form, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from featalign.errors import DataError, did_you_mean
from featalign.spec import Classes, Normalization


def test_round_trip():
    classes = Classes.named(["road", "sky"])
    assert Classes.from_json(json.loads(json.dumps(classes.to_json()))) == classes


def test_colours_are_optional_and_differ():
    classes = Classes.numbered(150)
    assert len(set(classes.colors)) > 140
    assert Classes.from_json({"classes": [{"id": 0, "name": "a"}]}).colors == classes.colors[:1]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"classes": []},
        {"classes": [{"id": 1, "name": "a"}]},
        {"classes": [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]},
        {"classes": [{"id": 0, "name": "a", "color": [1, 2]}]},
        {"classes": [{"id": 0, "name": "a", "color": [1, 2, 256]}]},
        {"classes": "road"},
        [],
    ],
)
def test_wrong_forms_are_refused(content, tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"classes\.json: "):
        Classes.read(tmp_path / "classes.json")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({}, "'classes' is missing"),
        ({"classes": [{"id": 0, "name": "a", "color": [1, 2, 256]}]}, "colour [1, 2, 256] outside 0 … 255"),
        ([], "something in it is of another kind"),
    ],
)
def test_what_is_wrong_is_said_in_words(content, fault):
    with pytest.raises(DataError) as caught:
        Classes.from_json(content)
    assert str(caught.value).endswith(f"; {fault}")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        Classes.read(tmp_path / "classes.json")
    (tmp_path / "classes.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        Classes.read(tmp_path / "classes.json")


def test_normalization_by_channels():
    assert Normalization.for_channels(3) == Normalization()
    assert Normalization.for_channels(5) == Normalization((0.5,), (0.25,))


def test_hints():
    assert did_you_mean("bilinaer", ["bilinear", "nearest"]) == 'did you mean "bilinear"?'
    assert did_you_mean("zzz", ["b", "a"]) == "expected one of: a, b"
    assert did_you_mean("fnp", ["fpn", "sfnet"]) == 'did you mean "fpn"?'
    assert did_you_mean("unet", ["fpn", "sfnet"]) == "expected one of: fpn, sfnet"
    assert did_you_mean("zzz", map(str, range(10, 90))).endswith("28, 29, … and 60 more")
    assert did_you_mean(None, ["a"]) == "expected one of: a"


def test_normalization_from_json_knows_older_files() -> None:
    deep = Normalization((0.5,), (0.2,), 65535.0)
    assert Normalization.from_json(json.loads(json.dumps(asdict(deep)))) == deep
    assert Normalization.from_json({"mean": [0.5], "std": [0.2]}) == Normalization((0.5,), (0.2,), 255.0)


def test_normalization_by_channels_and_depth() -> None:
    assert Normalization.for_channels(3) == Normalization()
    assert Normalization.for_channels(3, depth=16).scale == 65535
    assert Normalization.for_channels(5, depth=16) == Normalization((0.5,), (0.25,), 65535)
