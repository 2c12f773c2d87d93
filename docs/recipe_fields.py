"""Writes recipe-fields.md, beside this file, from the recipe's own descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from featalign.training import Recipe

PAGE = Path(__file__).parent / "recipe-fields.md"
SECTIONS = ("model", "data", "training", "loss", "test")
_INTRODUCTION = """# Fields of a recipe

What `python docs/recipe_fields.py` writes; do not edit. Every field with its default; `--set section.field=value` sets
one, and packaged [recipes](recipes.md) set many. [Training](training.md) and [its options](training-options.md) say
more about most of them. Besides these sections, a recipe may have `base` (the name of a packaged recipe that it
changes), `summary`, `published` and `measured`.
"""


def page() -> str:
    """The page as Markdown."""
    return "\n".join([_INTRODUCTION, *(_section(name) for name in SECTIONS)])


def _section(name: str) -> str:
    fields = Recipe.model_fields[name].annotation.model_fields
    rows = [f"| `{field}` | {_default(info)} | {_meaning(info)} |" for field, info in fields.items()]
    heading = f"## {name}: {Recipe.model_fields[name].description}"
    return "\n".join([heading, "", "| field | default | meaning |", "|---|---|---|", *rows, ""])


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _meaning(info: FieldInfo) -> str:
    """The description, and the values that can be given unless it names them all."""
    text = (info.description or "").replace("|", "\\|")
    choices = [str(value) for value in get_args(info.annotation)] if get_origin(info.annotation) is Literal else []
    if all(choice in text for choice in choices):
        return text
    return f"{text} ({', '.join(f'`{choice}`' for choice in choices)})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
