"""The networks, how to build them by name, and how to store and load them."""

from featalign.models.detector import Detector
from featalign.models.detector_factory import create_detector, detector_options, list_detectors
from featalign.models.detector_storage import load_detector, save_detector
from featalign.models.factory import add_network, create_model, list_models, model_choices, model_options
from featalign.models.feature_pyramid import FeaturePyramid, Neck, pyramid
from featalign.models.loading import load_model
from featalign.models.network import Features
from featalign.models.published import load_published
from featalign.models.segmentor import Segmentor
from featalign.models.storage import save_model

__all__ = [
    "Detector",
    "FeaturePyramid",
    "Features",
    "Neck",
    "Segmentor",
    "add_network",
    "create_detector",
    "create_model",
    "detector_options",
    "list_detectors",
    "list_models",
    "load_detector",
    "load_model",
    "load_published",
    "model_choices",
    "model_options",
    "pyramid",
    "save_detector",
    "save_model",
]
