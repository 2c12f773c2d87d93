"""Where recipes come from: the ones inside the package, by name, and files of one's own, by path."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from featalign.errors import ConfigError, did_you_mean
from featalign.training.inheritance import inherited
from featalign.training.recipe import Recipe
from featalign.training.recipe_text import parse_yaml


def list_recipes() -> list[str]:
    """Names of the packaged recipes, such as ``camvid/fpn_ifa_resnet18``, sorted."""
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.yaml')}"
        for folder in _root().iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The packaged recipe of that name, or the YAML file at that path.

    What a file leaves out is that of the recipe it names as its ``base``, or the default.

    Raises:
        ConfigError: for an unknown name, an unreadable file, or faults in it (all of them, one line each).
    """
    name = str(name_or_path)
    content = inherited(_content(name), _content, source=name)
    return Recipe.from_content(content, source=name)


def _content(name: str) -> Any:
    """What the file of the recipe of that name, or at that path, holds."""
    packaged = name in list_recipes()
    text = _root().joinpath(f"{name}.yaml").read_text(encoding="utf-8") if packaged else _read(Path(name))
    return parse_yaml(text, source=name)


def _root() -> Traversable:
    return files("featalign").joinpath("recipes")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = did_you_mean(str(path), list_recipes())
        raise ConfigError(f'recipe "{path}": neither a packaged recipe nor a file; {hint}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'recipe "{path}": cannot be read ({error})') from error
