"""Where recipes come from: the ones inside the package, by name, and files of one's own, by path."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from featalign.errors import ConfigError, did_you_mean
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
    """The packaged recipe of that name, or the YAML file at that path (which may leave fields to their defaults).

    Raises:
        ConfigError: for an unknown name, an unreadable file, or faults in it (all of them, one line each).
    """
    name = str(name_or_path)
    if name in list_recipes():
        text = _root().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        text = _read(Path(name_or_path))
    return Recipe.from_content(parse_yaml(text, source=name), source=name)


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
