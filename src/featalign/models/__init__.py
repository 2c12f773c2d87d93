"""The networks, how to build them by name, and how to store and load them."""

from featalign.models.factory import add_network, create_model, list_models, model_choices, model_options
from featalign.models.published import load_published
from featalign.models.segmentor import Features, Segmentor
from featalign.models.storage import load_model, save_model

__all__ = [
    "Features",
    "Segmentor",
    "add_network",
    "create_model",
    "list_models",
    "load_model",
    "load_published",
    "model_choices",
    "model_options",
    "save_model",
]
