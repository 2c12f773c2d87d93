"""The options of `train` that stand for fields of a recipe."""

from __future__ import annotations

from featalign.cli.training import choose_recipe

NAME = "camvid/fpn_ifa_resnet18"


def test_options_go_before_overrides():
    plain = choose_recipe(NAME, ["data.cache=true"], on_nan=None, deterministic=False, cache=False)
    assert (plain.data.cache, plain.training.on_nan, plain.training.deterministic) == (True, "stop", False)
    asked = choose_recipe(
        NAME, ["data.cache=false", "training.on_nan=stop"], on_nan="skip", deterministic=True, cache=True
    )
    assert (asked.data.cache, asked.training.on_nan, asked.training.deterministic) == (True, "skip", True)
    assert asked.model == plain.model
