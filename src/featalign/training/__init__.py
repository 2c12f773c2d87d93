"""Recipe in, run folder out. Nothing here is needed to predict.

Only recipes are imported here: :func:`featalign.training.run.train` brings Lightning along, which takes seconds.
"""

from __future__ import annotations

from featalign.training.recipe import Recipe
from featalign.training.recipe_files import list_recipes, load_recipe

__all__ = ["Recipe", "list_recipes", "load_recipe"]
