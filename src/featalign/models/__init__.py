"""The networks, how to build them by name, and how to store and load them."""

from featalign.models.factory import create_model, list_models, model_choices, model_options
from featalign.models.feature_pyramid import FeaturePyramid, Neck, pyramid
from featalign.models.published import load_published
from featalign.models.segmentor import Features, Segmentor
from featalign.models.storage import load_model, save_model

__all__ = [
    "FeaturePyramid",
    "Features",
    "Neck",
    "Segmentor",
    "create_model",
    "list_models",
    "load_model",
    "load_published",
    "model_choices",
    "model_options",
    "pyramid",
    "save_model",
]
