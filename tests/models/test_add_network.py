"""Networks of one's own by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featalign.errors import ConfigError
from featalign.models import (
    Segmentor,
    add_network,
    create_model,
    factory,
    list_models,
    load_model,
    save_model,
)
from featalign.spec import Classes
from featalign.training import Recipe


class Pointwise(Segmentor):
    """One convolution, at stride 1."""

    def __init__(self, classes: Classes, *, in_channels: int) -> None:
        super().__init__(classes, in_channels=in_channels, strides=(1,), auto_mode="resized")
        self.backbone = nn.Conv2d(in_channels, len(classes), 1)

    def maps(self, images):
        return [self.backbone(images)], None

    def native(self, features):
        return features.maps[0]


def pointwise(
    classes: Classes, *, backbone: str = "", pretrained: bool | str = False, in_channels: int = 3, width: int = 8
) -> Segmentor:
    return Pointwise(classes, in_channels=in_channels)


@pytest.fixture(autouse=True)
def names_as_before(monkeypatch):
    monkeypatch.setattr(factory, "_BUILDERS", dict(factory._BUILDERS))


def test_created_stored_and_named_by_a_recipe(tmp_path):
    from featalign.training.run import build_model

    add_network("pointwise", pointwise)
    assert "pointwise" in list_models()
    model = create_model("pointwise", classes=["road", "sky"], in_channels=4).eval()
    save_model(model, tmp_path)
    images = torch.rand(1, 4, 5, 6)
    assert torch.equal(load_model(tmp_path)(images), model(images))
    with pytest.raises(ConfigError, match='has no option "widht": did you mean "width"'):
        create_model("pointwise", classes=2, widht=3)
    recipe = Recipe.from_content({"model": {"name": "pointwise"}})
    assert isinstance(build_model(recipe, Classes.numbered(3)), Pointwise)


def test_a_network_answers_and_encodes():
    class Half(Segmentor):
        def native(self, features):
            return features.maps[0]

    with pytest.raises(TypeError, match="maps"):
        Half(Classes.numbered(2), in_channels=3, strides=(1,), auto_mode="resized")


def test_refusals():
    with pytest.raises(ConfigError, match='the name "fpn" is taken'):
        add_network("fpn", pointwise)
    with pytest.raises(ConfigError, match="lacks the keyword-only options in_channels, pretrained"):
        add_network("mine", lambda classes, *, backbone="": Pointwise(classes, in_channels=3))
    assert "mine" not in list_models()
