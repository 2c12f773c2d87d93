"""Feature-aligned dense prediction for PyTorch: segmentation at any output resolution.

>>> import featalign
>>> model = featalign.create_model("fpn", align="ifa", backbone="resnet18", classes=19)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featalign.version import __version__ as __version__

if TYPE_CHECKING:
    from featalign.data import open_dataset
    from featalign.errors import FeatalignError
    from featalign.inference import Predictor, detect, evaluate
    from featalign.models import (
        create_detector,
        create_model,
        list_models,
        load_detector,
        load_model,
        load_published,
        pyramid,
        save_model,
    )
    from featalign.spec import Classes, Normalization
    from featalign.training import load_recipe
    from featalign.training.run import train

    load = load_model

# Where each public name lives. They are imported when first used, so that `import featalign` stays instant.
_HOMES = {
    "Classes": "featalign.spec",
    "FeatalignError": "featalign.errors",
    "Normalization": "featalign.spec",
    "Predictor": "featalign.inference",
    "create_detector": "featalign.models",
    "create_model": "featalign.models",
    "detect": "featalign.inference",
    "evaluate": "featalign.inference",
    "list_models": "featalign.models",
    "load": "featalign.models",
    "load_detector": "featalign.models",
    "load_model": "featalign.models",
    "load_published": "featalign.models",
    "load_recipe": "featalign.training",
    "open_dataset": "featalign.data",
    "pyramid": "featalign.models",
    "save_model": "featalign.models",
    "train": "featalign.training.run",
}
_ALIASES = {"load": "load_model"}

__all__ = [
    "Classes",
    "FeatalignError",
    "Normalization",
    "Predictor",
    "create_detector",
    "create_model",
    "detect",
    "evaluate",
    "list_models",
    "load",
    "load_detector",
    "load_model",
    "load_published",
    "load_recipe",
    "open_dataset",
    "pyramid",
    "save_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featalign' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except RuntimeError as error:
        from featalign.doctor import explain

        if reason := explain(error):
            raise ImportError(reason) from error
        raise
    return getattr(home, _ALIASES.get(name, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
